import { Type } from "typebox";
import { audit } from "../../store/audit.ts";
import { dagsOfFile } from "../../store/dags-of-file.ts";
import { userOf, type ApiContext, type TypedApp } from "../context.ts";
import { ApiError } from "../errors.ts";
import { FileRefusal, type RefusalReason } from "./files-contract.ts";

/**
 * Who may see and change the workspace's files. What is written there runs as Leoflow's own user of the system, who can read
 * the keys in config.yaml: it is not for those who may only trigger and clear. DAG files can be read on their Code page.
 */
export const EDITOR_ROLE = "ADMIN";

/** 2 MB of text, each character written as \uXXXX. */
const BODY_LIMIT_BYTES = 13 * 1024 * 1024;

const STATUS: Record<RefusalReason, number> = {
  "invalid-path": 422,
  outside: 403,
  "not-found": 404,
  exists: 409,
  changed: 412,
  "read-only": 403,
  "not-text": 415,
  "too-large": 413,
  "not-empty": 409,
  "no-space": 507,
};

/** The workspace's files, for the editor: `/files`, `/file-search`. */
export function fileRoutes(app: TypedApp, context: ApiContext): void {
  const { files } = context;
  if (!files) return;
  const access = { config: { role: EDITOR_ROLE } } as const;
  const params = Type.Object({ "*": Type.String() });

  app.get("/files", access, async () => {
    const { entries, truncated } = await answered(files.list());
    return {
      files: entries.map(({ path, kind, bytes, readOnly, ignored }) => ({
        path,
        kind,
        bytes,
        read_only: readOnly,
        ignored,
      })),
      truncated,
    };
  });

  app.get("/files/*", { ...access, schema: { params } }, async ({ params }, reply) => {
    const file = await answered(files.read(params["*"]));
    const dags = await dagsOfFile(context.db, file.path);
    return await reply
      .header("etag", `"${file.tag}"`)
      .header("cache-control", "no-store")
      .send({
        path: file.path,
        location: file.location,
        text: file.text,
        read_only: file.readOnly,
        dags: dags.map(({ dag_id, dag_display_name }) => ({ dag_id, dag_display_name: dag_display_name ?? dag_id })),
      });
  });

  const query = Type.Object({ q: Type.String({ minLength: 2, maxLength: 200 }) });
  app.get("/file-search", { ...access, schema: { querystring: query } }, async ({ query }) =>
    answered(files.search(query.q)),
  );

  const text = Type.Object({ text: Type.String() }, { additionalProperties: false });
  app.put(
    "/files/*",
    { ...access, bodyLimit: BODY_LIMIT_BYTES, schema: { params, body: text } },
    async (request, reply) => {
      const path = request.params["*"];
      const given = request.headers["if-match"];
      if (given === undefined) {
        throw new ApiError(428, "Send the file's ETag as If-Match, so that nobody's change is overwritten.");
      }
      const save = () => files.write(path, request.body.text, given.replace(/^(W\/)?"|"$/g, ""));
      const tag = await changing(context, userOf(request).name, "save_file", { path }, save);
      return await reply.header("etag", `"${tag}"`).send({ path });
    },
  );

  const creation = Type.Object(
    {
      kind: Type.Union([Type.Literal("file"), Type.Literal("folder")], { default: "file" }),
      text: Type.String({ default: "" }),
    },
    { additionalProperties: false },
  );
  app.post(
    "/files/*",
    { ...access, bodyLimit: BODY_LIMIT_BYTES, schema: { params, body: creation } },
    async (request, reply) => {
      const path = request.params["*"];
      const { kind, text } = request.body;
      const create = (): Promise<string | void> =>
        kind === "file" ? files.createFile(path, text) : files.createFolder(path);
      const tag = await changing(context, userOf(request).name, "create_file", { path, kind }, create);
      if (tag) reply.header("etag", `"${tag}"`);
      return await reply.code(201).send({ path });
    },
  );

  const move = Type.Object({ path: Type.String() }, { additionalProperties: false });
  app.patch("/files/*", { ...access, schema: { params, body: move } }, async (request) => {
    const path = request.params["*"];
    const to = request.body.path;
    await changing(context, userOf(request).name, "rename_file", { path, to }, () => files.rename(path, to));
    return { path: to };
  });

  const removal = Type.Object({ recursive: Type.Boolean({ default: false }) });
  app.delete("/files/*", { ...access, schema: { params, querystring: removal } }, async (request, reply) => {
    const path = request.params["*"];
    const { recursive } = request.query;
    const remove = () => files.remove(path, recursive);
    await changing(context, userOf(request).name, "delete_file", { path, recursive }, remove);
    return await reply.code(204).send();
  });
}

/** On record before it is tried, as every change is; the content is not. */
async function changing<T>(
  { db }: ApiContext,
  user: string,
  event: string,
  extra: Record<string, unknown>,
  change: () => Promise<T>,
): Promise<T> {
  await audit(db, { event, user, extra });
  return answered(change());
}

/** Gives what was refused as the answer that it is. */
export async function answered<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof FileRefusal) throw new ApiError(STATUS[error.reason], error.message);
    throw error;
  }
}
