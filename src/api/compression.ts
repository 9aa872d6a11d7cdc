import { promisify } from "node:util";
import { Readable } from "node:stream";
import { brotliCompress, constants, createBrotliCompress, createGzip, gzip } from "node:zlib";
import type { FastifyInstance } from "fastify";

/** Smaller answers are sent as they are, as Airflow does. */
const SMALLEST_BYTES = 1024;
const COMPRESSIBLE = /^(text\/|application\/(json|x-ndjson|javascript|openapi\+json))/;

// Flushed after every chunk, so that a line of a streamed answer arrives when it is written.
const gzipOptions = { level: 5, flush: constants.Z_SYNC_FLUSH };
const brotliOptions = {
  params: { [constants.BROTLI_PARAM_QUALITY]: 4 },
  flush: constants.BROTLI_OPERATION_FLUSH,
};
const gzipAll = promisify(gzip);
const brotliAll = promisify(brotliCompress);

export type Encoding = "br" | "gzip";

/** The better of the encodings that the client takes. */
export function acceptedEncoding(header: string | string[] | undefined): Encoding | null {
  const accepted = String(header ?? "")
    .toLowerCase()
    .split(",")
    .map((part) => part.trim().split(";"))
    .filter(([, quality]) => !/^\s*q=0(\.0*)?$/.test(quality ?? ""))
    .map(([name]) => name);
  if (accepted.includes("br")) return "br";
  return accepted.includes("gzip") ? "gzip" : null;
}

/** Compresses answers on their way out: whole ones from 1 KB, streams always. */
export function registerCompression(app: FastifyInstance): void {
  app.addHook("onSend", async (request, reply, payload: unknown) => {
    const type = String(reply.getHeader("content-type") ?? "");
    if (!COMPRESSIBLE.test(type) || reply.hasHeader("content-encoding")) return payload;
    reply.header("vary", "Accept-Encoding");
    const encoding = acceptedEncoding(request.headers["accept-encoding"]);
    if (!encoding) return payload;
    if (payload instanceof Readable) {
      const packer = encoding === "br" ? createBrotliCompress(brotliOptions) : createGzip(gzipOptions);
      payload.on("error", (error) => packer.destroy(error));
      packer.on("close", () => payload.destroy());
      reply.header("content-encoding", encoding).removeHeader("content-length");
      return payload.pipe(packer);
    }
    if (typeof payload !== "string" && !Buffer.isBuffer(payload)) return payload;
    if (Buffer.byteLength(payload) < SMALLEST_BYTES) return payload;
    reply.header("content-encoding", encoding).removeHeader("content-length");
    return encoding === "br" ? brotliAll(payload, brotliOptions) : gzipAll(payload, gzipOptions);
  });
}
