import { request as plainRequest, type IncomingMessage } from "node:http";

export interface HttpRequest {
  method: string;
  headers: Record<string, string>;
  body: string | Uint8Array | undefined;
  signal: AbortSignal;
}

/** Sends one request. node's own `fetch` takes longer to load than a local server to answer. Rejects as `http.request` fails. */
export async function httpRequest(url: URL, { method, headers, body, signal }: HttpRequest): Promise<IncomingMessage> {
  const request = url.protocol === "https:" ? (await import("node:https")).request : plainRequest;
  return new Promise((resolve, reject) => {
    const length = body === undefined ? {} : { "content-length": String(Buffer.byteLength(body)) };
    const sent = request(url, { method, headers: { ...headers, ...length }, signal }, resolve);
    sent.on("error", reject);
    sent.end(body);
  });
}
