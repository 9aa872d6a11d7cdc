import { openAround } from "./navigate.ts";

/** An answer that is not a success; the message is fit to be shown. */
export class RequestError extends Error {
  readonly status: number;
  readonly detail: unknown;

  constructor(status: number, detail: unknown) {
    super(typeof detail === "string" ? detail : JSON.stringify(detail));
    this.status = status;
    this.detail = detail;
  }
}

export interface Answer<T> {
  body: T;
  etag: string | null;
}

export interface RequestOptions {
  method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Sent as JSON. */
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

/** Asks our server as the signed-in user; goes to the login page when the session has ended. */
export async function request<T>(path: string, options: RequestOptions = {}): Promise<Answer<T>> {
  const { method = "GET", body, headers = {}, signal } = options;
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      credentials: "same-origin",
      headers: body === undefined ? headers : { ...headers, "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(signal ? { signal } : {}),
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new RequestError(0, "Leoflow does not answer. Is it still running?");
  }
  const text = await response.text();
  const answer = parsed(text);
  if (response.ok) return { body: answer as T, etag: response.headers.get("etag") };
  const detail = (answer as { detail?: unknown } | null)?.detail ?? `${response.status} ${response.statusText}`;
  if (response.status === 401 || detail === "Invalid JWT token") signIn();
  throw new RequestError(response.status, detail);
}

/** The body alone. */
export async function ask<T>(path: string, options?: RequestOptions): Promise<T> {
  return (await request<T>(path, options)).body;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return null;
  }
}

function signIn(): void {
  const { href } = window.parent.location;
  openAround(`/api/v2/auth/login?${new URLSearchParams({ next: href }).toString()}`);
}
