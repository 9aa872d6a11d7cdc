import { existsSync, readFileSync, statSync } from "node:fs";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { FastifyInstance, FastifyReply } from "fastify";
import { parse } from "yaml";
import type { ApiContext } from "./context.ts";
import { docsPage, type OpenApiDocument } from "./docs-page.ts";

const WHEEL_DIR = "airflow/api_fastapi";

/** What Airflow serves as applications of their own: where each is mounted, and its document in the wheel. */
const APPLICATIONS = [
  { mount: "", file: "core_api/openapi/v2-rest-api-generated.yaml" },
  { mount: "/auth", file: "auth/managers/simple/openapi/v2-simple-auth-manager-generated.yaml" },
];

/**
 * `/openapi.json` and `/docs`, and the same below `/auth`. The documents are what Airflow generates from its routes and ships
 * as YAML in the wheel: the contract that test/contract holds this API to. Reading the YAML blocks for 0.4 s, so what is made
 * of it is kept on disk.
 */
export function openApiRoutes(app: FastifyInstance, context: ApiContext, { cacheDir }: { cacheDir: string }): void {
  for (const { mount, file } of APPLICATIONS) {
    documentRoutes(app, mount, new OpenApiFiles(join(context.airflowPackageDir, WHEEL_DIR, file), mount, cacheDir));
  }
}

function documentRoutes(app: FastifyInstance, mount: string, files: OpenApiFiles): void {
  const open = { config: { role: "public" as const } };
  const send = async (reply: FastifyReply, kind: keyof Made, type: string) =>
    reply
      .type(type)
      .header("cache-control", "public, max-age=3600")
      .send(await files.text(kind));
  app.get(`${mount}/openapi.json`, open, (_request, reply) => send(reply, "json", "application/json"));
  for (const page of ["docs", "redoc"]) {
    app.get(`${mount}/${page}`, open, (_request, reply) =>
      send(
        reply.header(
          "content-security-policy",
          "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'",
        ),
        "html",
        "text/html; charset=utf-8",
      ),
    );
  }
}

interface Made {
  json: string;
  html: string;
}

class OpenApiFiles {
  readonly #source: string;
  readonly #mount: string;
  readonly #cacheDir: string;

  constructor(source: string, mount: string, cacheDir: string) {
    this.#source = source;
    this.#mount = mount;
    this.#cacheDir = cacheDir;
  }

  async text(kind: keyof Made): Promise<string> {
    const { size, mtimeMs } = statSync(this.#source);
    const name = `openapi${this.#mount.replace("/", "-")}-${size.toString(16)}-${Math.round(mtimeMs).toString(16)}`;
    const file = (of: keyof Made) => join(this.#cacheDir, `${name}.${of}`);
    if (existsSync(file(kind))) return await readFile(file(kind), "utf8");
    const made = this.#make();
    // A full disk or a read-only folder costs the next request its time, never this one its answer.
    await Promise.all(
      (["json", "html"] as const).map((of) => keep(this.#cacheDir, file(of), made[of]).catch(() => undefined)),
    );
    return made[kind];
  }

  #make(): Made {
    const text = readFileSync(this.#source, "utf8");
    const written = parse(text, { uniqueKeys: false, prettyErrors: false, merge: false }) as OpenApiDocument;
    const document = this.#mount ? belowMount(written, this.#mount) : written;
    return { json: JSON.stringify(document), html: docsPage(document) };
  }
}

/** As FastAPI serves the document of a mounted application: paths begin at the mount, which is the server's address. */
function belowMount(document: OpenApiDocument, mount: string): OpenApiDocument {
  const paths = Object.entries(document.paths).map(([path, methods]) => [path.slice(mount.length), methods]);
  return {
    ...document,
    paths: Object.fromEntries(paths) as OpenApiDocument["paths"],
    servers: [{ url: mount }],
  };
}

/** Writes a file beside what may be read at the same time. */
export async function keep(folder: string, file: string, text: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const temporary = `${file}.${process.pid}.tmp`;
  try {
    await writeFile(temporary, text);
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
