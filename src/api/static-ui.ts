import { createReadStream, createWriteStream, existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { mkdir, rename, rm, stat } from "node:fs/promises";
import { createHash } from "node:crypto";
import { extname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { constants, createBrotliCompress, createGzip } from "node:zlib";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { acceptedEncoding, type Encoding } from "./compression.ts";
import { ApiError } from "./errors.ts";
import { isFresh } from "./revalidation.ts";
import type { ApiContext } from "./context.ts";

const TYPES: Record<string, string> = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".ico": "image/x-icon",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".map": "application/json",
  ".mjs": "text/javascript; charset=utf-8",
  ".png": "image/png",
  ".svg": "image/svg+xml",
  ".ttf": "font/ttf",
  ".txt": "text/plain; charset=utf-8",
  ".wasm": "application/wasm",
  ".woff": "font/woff",
  ".woff2": "font/woff2",
};
const PACKED_TYPES = new Set([".css", ".js", ".json", ".mjs", ".svg", ".ttf", ".wasm"]);
const SMALLEST_PACKED_BYTES = 4_096;

interface UiFile {
  path: string;
  bytes: number;
  tag: string;
}

/**
 * One built front end of the wheel. Its files are listed once and only listed files are served, so no request path ever
 * reaches the file system. Packed copies are made when first asked for and kept on disk: the 7 MB bundle is neither packed
 * twice nor held in memory; until its copy is there it is sent plain.
 */
export class Dist {
  readonly #dir: string;
  readonly #packedDir: string;
  readonly #rebuilt: boolean;
  readonly #packing = new Map<string, Promise<void>>();
  #files: Map<string, UiFile> | undefined;
  #index: { html: string; tag: string } | undefined;

  /** `rebuilt`: a few files, which a build may replace while we run. */
  constructor(dir: string, packedDir: string, { rebuilt = false } = {}) {
    this.#dir = dir;
    this.#packedDir = packedDir;
    this.#rebuilt = rebuilt;
  }

  find(path: string): UiFile | undefined {
    if (this.#rebuilt || !this.#files) this.#files = this.#list();
    return this.#files.get(path);
  }

  #list(): Map<string, UiFile> {
    const files = new Map<string, UiFile>();
    if (this.#rebuilt && !existsSync(this.#dir)) return files;
    for (const entry of readdirSync(this.#dir, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      const { size, mtimeMs } = statSync(path);
      const name = path.slice(this.#dir.length + 1).replaceAll("\\", "/");
      files.set(name, { path, bytes: size, tag: `${size.toString(16)}-${Math.round(mtimeMs).toString(16)}` });
    }
    return files;
  }

  /** The page every other path gets; its one variable is where the server's root is. */
  index(): { html: string; tag: string } {
    if (!this.#index) {
      const html = readFileSync(join(this.#dir, "index.html"), "utf8").replaceAll(
        /\{\{\s*backend_server_base_url\s*\}\}/g,
        "/",
      );
      this.#index = { html, tag: createHash("sha256").update(html).digest("hex").slice(0, 16) };
    }
    return this.#index;
  }

  /** The packed copy, or null while it is being made. */
  async packed(file: UiFile, encoding: Encoding): Promise<{ path: string; bytes: number } | null> {
    if (file.bytes < SMALLEST_PACKED_BYTES || !PACKED_TYPES.has(extname(file.path))) return null;
    const name = createHash("sha256").update(`${file.path}\n${file.tag}`).digest("hex").slice(0, 32);
    const path = join(this.#packedDir, `${name}.${encoding === "br" ? "br" : "gz"}`);
    if (this.#packing.has(path)) return null;
    const found = await stat(path).catch(() => null);
    if (found) return { path, bytes: found.size };
    // A full disk or a read-only folder costs the packing, never the page.
    const packing = this.#pack(file, encoding, path).catch(() => undefined);
    this.#packing.set(path, packing);
    void packing.then(() => this.#packing.delete(path));
    return null;
  }

  async #pack(file: UiFile, encoding: Encoding, path: string): Promise<void> {
    await mkdir(this.#packedDir, { recursive: true });
    const temporary = `${path}.${process.pid}.tmp`;
    const packer =
      encoding === "br"
        ? createBrotliCompress({
            params: {
              [constants.BROTLI_PARAM_QUALITY]: 6,
              [constants.BROTLI_PARAM_SIZE_HINT]: file.bytes,
            },
          })
        : createGzip({ level: 6 });
    try {
      await pipeline(createReadStream(file.path), packer, createWriteStream(temporary));
      await rename(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }
}

/**
 * The page of rendered templates imports a module that its wheel does not bring, and goes on without when that fails. Failing
 * inside the module keeps the missing file from looking like an error of this server.
 */
const ABSENT_MODULE = 'throw new Error("the Airflow wheel does not bring this module");\n';

export interface StaticUi {
  /** The single-page app; answers every path that is nobody else's. */
  sendIndex(request: FastifyRequest, reply: FastifyReply): FastifyReply;
}

/** The unmodified Airflow UI and the login page of SimpleAuthManager, from the installed wheel. */
export function registerStaticUi(
  app: FastifyInstance,
  context: ApiContext,
  { packedDir }: { packedDir: string },
): StaticUi {
  const main = new Dist(join(context.airflowPackageDir, "airflow/ui/dist"), packedDir);
  const login = new Dist(
    join(context.airflowPackageDir, "airflow/api_fastapi/auth/managers/simple/ui/dist"),
    packedDir,
  );
  const open = { config: { role: "public" as const } };
  app.get("/static/wasm/sqlparser_rs_wasm.js", open, (_request, reply) =>
    reply.type("text/javascript; charset=utf-8").header("cache-control", "public, max-age=3600").send(ABSENT_MODULE),
  );
  app.get<{ Params: { "*": string } }>("/static/*", open, (request, reply) => sendFile(main, request, reply));
  app.get<{ Params: { "*": string } }>("/auth/static/*", open, (request, reply) => sendFile(login, request, reply));
  app.get("/auth/*", open, (request, reply) => sendIndex(login, request, reply));
  app.get("/auth", open, (request, reply) => sendIndex(login, request, reply));
  return { sendIndex: (request, reply) => sendIndex(main, request, reply) };
}

function sendIndex(dist: Dist, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const { html, tag } = dist.index();
  reply.header("cache-control", "no-cache").header("etag", `W/"${tag}"`);
  if (isFresh(request, tag)) return reply.code(304).send();
  return reply.type("text/html; charset=utf-8").send(html);
}

/** A file of the front end, packed where the client takes that. */
export async function sendFile(
  dist: Dist,
  request: FastifyRequest<{ Params: { "*": string } }>,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const name = request.params["*"];
  const file = dist.find(name);
  if (!file) throw new ApiError(404, "Not Found");
  // Names in assets/ carry a hash of the content; texts and our own pages' files are asked for with `?v=<version>`.
  const lasting = name.startsWith("assets/") || Object.hasOwn(request.query as object, "v");
  reply
    .header("cache-control", lasting ? "public, max-age=31536000, immutable" : "public, max-age=3600")
    .header("etag", `W/"${file.tag}"`)
    .header("vary", "Accept-Encoding");
  if (isFresh(request, file.tag)) return reply.code(304).send();
  const encoding = acceptedEncoding(request.headers["accept-encoding"]);
  const packed = encoding ? await dist.packed(file, encoding) : null;
  const { path, bytes } = packed ?? file;
  // "identity" tells the compression of ordinary answers to leave this one alone.
  reply
    .type(TYPES[extname(file.path)] ?? "application/octet-stream")
    .header("content-encoding", packed && encoding ? encoding : "identity")
    .header("content-length", bytes);
  return reply.send(createReadStream(path));
}
