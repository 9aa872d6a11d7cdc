import { existsSync, readFileSync, statSync } from "node:fs";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { FastifyInstance, FastifyReply } from "fastify";
import { parse } from "yaml";
import type { ApiContext } from "./context.ts";
import { docsPage, type OpenApiDocument } from "./docs-page.ts";

const WHEEL_FILE = "airflow/api_fastapi/core_api/openapi/v2-rest-api-generated.yaml";

/**
 * `/openapi.json` and `/docs`. The document is what Airflow generates from its routes and ships as YAML in the wheel: the
 * contract that test/contract holds this API to. Reading the YAML blocks for 0.4 s, so what is made of it is kept on disk.
 */
export function openApiRoutes(app: FastifyInstance, context: ApiContext, { cacheDir }: { cacheDir: string }): void {
  const files = new OpenApiFiles(join(context.airflowPackageDir, WHEEL_FILE), cacheDir);
  const open = { config: { role: "public" as const } };
  const send = async (reply: FastifyReply, kind: keyof Made, type: string) =>
    reply
      .type(type)
      .header("cache-control", "public, max-age=3600")
      .send(await files.text(kind));
  app.get("/openapi.json", open, (_request, reply) => send(reply, "json", "application/json"));
  for (const path of ["/docs", "/redoc"]) {
    app.get(path, open, (_request, reply) =>
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
  readonly #cacheDir: string;

  constructor(source: string, cacheDir: string) {
    this.#source = source;
    this.#cacheDir = cacheDir;
  }

  async text(kind: keyof Made): Promise<string> {
    const { size, mtimeMs } = statSync(this.#source);
    const name = `openapi-${size.toString(16)}-${Math.round(mtimeMs).toString(16)}`;
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
    const document = parse(text, { uniqueKeys: false, prettyErrors: false, merge: false }) as OpenApiDocument;
    return { json: JSON.stringify(document), html: docsPage(document) };
  }
}

async function keep(folder: string, file: string, text: string): Promise<void> {
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
