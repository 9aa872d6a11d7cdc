import type { Readable } from "node:stream";
import { Type } from "typebox";
import { DAG_ID_PATTERN } from "../../domain/project-names.ts";
import { audit } from "../../store/audit.ts";
import { userOf, type ApiContext, type TypedApp } from "../context.ts";
import { ApiError } from "../errors.ts";
import { EDITOR_ROLE } from "./files.ts";
import type { PushOutcome, PushRefusal } from "./pushed-dags-contract.ts";

const STATUS: Record<PushRefusal, number> = {
  damaged: 400,
  "too-large": 413,
  mismatch: 409,
  taken: 409,
  "in-the-way": 409,
  "import-error": 422,
  unavailable: 503,
};

/**
 * Versions that are registered over the API: `PUT /dags/{dag_id}/versions?files_hash=sha256:…` with the project as a gzipped tar,
 * and what came of it. For those who may use the editor: what is pushed runs as Leoflow's own user.
 */
export function pushedDagRoutes(app: TypedApp, context: ApiContext): void {
  const { pushed } = context;
  if (!pushed) return;
  const config = { role: EDITOR_ROLE } as const;
  const params = Type.Object({ dag_id: Type.String({ pattern: DAG_ID_PATTERN }) });
  const querystring = Type.Object({ files_hash: Type.String({ pattern: "^sha256:[0-9a-f]{64}$" }) });
  const answer = (dagId: string, hash: string, outcome: PushOutcome) => {
    if (outcome.kind === "refused") throw new ApiError(STATUS[outcome.reason], outcome.message);
    if (outcome.kind === "pending") return { status: 202, body: { state: "pending", dag_id: dagId, files_hash: hash } };
    const { created, versionId, versionNumber } = outcome;
    const body = {
      state: "registered",
      created,
      dag_id: dagId,
      files_hash: hash,
      version_id: versionId,
      version_number: versionNumber,
    };
    return { status: created ? 201 : 200, body };
  };

  // Read as it comes, never held in memory.
  app.addContentTypeParser(["application/gzip", "application/x-gzip"], (_request, payload, done) =>
    done(null, payload),
  );
  app.put("/dags/:dag_id/versions", { config, schema: { params, querystring } }, async (request, reply) => {
    const { dag_id: dagId } = request.params;
    const { files_hash: hash } = request.query;
    const body = request.body as Readable | undefined;
    if (typeof body?.[Symbol.asyncIterator] !== "function") {
      throw new ApiError(415, "Send the project as application/gzip: a gzipped tar of its files.");
    }
    await audit(context.db, { event: "push_dag", user: userOf(request).name, dagId, extra: { files_hash: hash } });
    const { status, body: said } = answer(
      dagId,
      hash,
      await pushed.push(dagId, hash, body as AsyncIterable<Uint8Array>),
    );
    return await reply.code(status).send(said);
  });

  app.get("/dags/:dag_id/versions", { config, schema: { params, querystring } }, async (request, reply) => {
    const { dag_id: dagId } = request.params;
    const { files_hash: hash } = request.query;
    const outcome = await pushed.outcome(dagId, hash);
    if (!outcome) throw new ApiError(404, `${dagId} was not pushed with ${hash}, or something else has been since.`);
    const { status, body } = answer(dagId, hash, outcome);
    return await reply.code(status).send(body);
  });
}
