import { connect, type Socket } from "node:net";

/** Sends these bytes as they are, and reads until the server closes or an answer's head is there. */
export async function raw(base: string, text: string): Promise<{ status: number; text: string }> {
  const socket = await open(base);
  return await new Promise((resolve, reject) => {
    let answer = "";
    const done = () => {
      socket.destroy();
      resolve({ status: Number(/^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1] ?? 0), text: answer });
    };
    socket.on("data", (data) => {
      answer += data.toString();
      const [head = "", body] = answer.split("\r\n\r\n", 2);
      const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
      if (body !== undefined && Buffer.byteLength(body) >= length) done();
    });
    socket.once("end", done);
    socket.once("error", reject);
    socket.write(text);
  });
}

/** A connection on which nothing has been said yet. */
export async function open(base: string): Promise<Socket> {
  const { hostname, port } = new URL(base);
  const socket = connect(Number(port), hostname);
  await new Promise<void>((resolve, reject) => socket.once("connect", resolve).once("error", reject));
  return socket;
}

/** A GET of this path, which is sent as it is: browsers and fetch would tidy it. */
export const get = (path: string) => `GET ${path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`;

/** Paths that lead out of what is served, as far as their writer believes. */
export const TRICKS = [
  "/static/../../../../../../etc/passwd",
  "/static/..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
  "/static/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
  "/static/..\\..\\..\\etc\\passwd",
  "/static//etc/passwd",
  "/static/assets/..%5c..%5cetc/passwd",
  "/static/%00",
  "/static/%zz",
  "/static/%",
  "/auth/static/../../../../../../etc/passwd",
  "/auth/static/..%2f..%2f..%2fetc%2fpasswd",
  "/leoflow/web/..%2f..%2f..%2fetc%2fpasswd",
  "/%",
  "/%c0%ae%c0%ae/etc/passwd",
  "//etc/passwd",
  "http://elsewhere.example/etc/passwd",
  "/api/v2/../../etc/passwd",
] as const;

/** What is no HTTP, or says two things at once. */
export const MALFORMED = [
  "\u0016\u0003\u0001\u0002\u0000\u0001\r\n\r\n",
  "GET\r\n\r\n",
  "GET / HTTP/9.9\r\nhost: a\r\n\r\n",
  "POST /auth/token HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
  "POST /auth/token HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
  `GET /api/v2/version HTTP/1.1\r\nhost: a\r\nx: ${"x".repeat(20_000)}\r\n\r\n`,
  `GET /${"x".repeat(20_000)} HTTP/1.1\r\nhost: a\r\n\r\n`,
] as const;
