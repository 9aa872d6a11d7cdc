import { isAbsolute } from "node:path";
import { Readable } from "node:stream";
import type { FastifyRequest } from "fastify";
import { Type } from "typebox";
import { findDagRunSummary } from "../../store/query-dag-runs.ts";
import { runProgress, type TaskProgress } from "../../store/run-progress.ts";
import { audited } from "../audit.ts";
import { userOf, type ApiContext, type TypedApp } from "../context.ts";
import { ApiError, badRequest, conflict, notFound } from "../errors.ts";
import { requireDag } from "../public/dag-lookup.ts";
import { patchRun } from "../public/dag-runs.ts";
import { datesOf, makeRun, planRun, triggerFields } from "../public/trigger.ts";
import { InstantText, nullable, strictObject } from "../schema.ts";
import type { OpenedDagFile } from "./dag-file-contract.ts";
import { answered, EDITOR_ROLE } from "./files.ts";

interface Run {
  id: number;
  dagId: string;
  runId: string;
}

/** After an event: what it sets off is mostly decided by then. */
const SETTLED_MS = 12;
/** Not every step of a run is an event. */
const LOOK_MS = 200;

const body = strictObject({
  ...triggerFields,
  /** Absolute, on the server's machine. */
  path: Type.String(),
  dag_id: Type.Optional(nullable(Type.String())),
  logical_date: Type.Optional(nullable(InstantText)),
});

/**
 * `POST /api/leoflow/file-runs`: runs the DAG of a file as it is now, whether it is paused or not. Answers a line of JSON for the
 * run, one whenever task instances changed (`tasks`: those that did), and at the end one with the run's `state`. The run belongs to
 * who listens: should they go, it fails, as `airflow dags test` ends with its terminal.
 */
export function fileRunRoutes(app: TypedApp, context: ApiContext): void {
  const { openDagFile, db } = context;
  if (!openDagFile) return;

  app.post(
    "/file-runs",
    { schema: { body }, config: { role: EDITOR_ROLE }, preValidation: audited(db, "run_file") },
    async (request, reply) => {
      const { path, dag_id: asked } = request.body;
      if (!isAbsolute(path)) throw badRequest(`path is ${JSON.stringify(path)}; it must be absolute`);
      const file = await answered(openDagFile(path));
      const gone = new AbortController();
      let run: Run | undefined;
      try {
        run = await start(request, chosenDag(path, file, asked ?? null));
      } finally {
        if (!run) await file.close();
      }
      const { name } = userOf(request);
      const finish = async () => {
        gone.abort();
        await end(run, name).finally(() => file.close());
      };
      reply.raw.once("close", () => {
        finish().catch((error: unknown) => context.kit.logger.warn({ err: error, path }, "could not end a file's run"));
      });
      return await reply
        .type("application/x-ndjson")
        .send(Readable.from(follow(run, gone.signal), { objectMode: false }));
    },
  );

  async function start(request: FastifyRequest, dagId: string): Promise<Run> {
    const versionId = await requireDag(context, dagId);
    const version = { versionId, graph: await context.graph(versionId) };
    const trigger = { logical_date: null, ...(request.body as object) };
    const run = await planRun(context, version, trigger, { dates: datesOf(trigger), runType: "manual" });
    await makeRun(context, request, version, { ...run, runType: "manual", triggeredBy: "test" });
    const made = await findDagRunSummary(db, dagId, run.runId);
    if (!made) throw notFound(`The DagRun \`${run.runId}\` was deleted at once`);
    return { id: made.id, dagId, runId: run.runId };
  }

  async function* follow({ id, runId, dagId }: Run, gone: AbortSignal): AsyncGenerator<string> {
    const changes = new RunChanges(context, id, gone);
    const known = new Map<string, string>();
    try {
      yield `${JSON.stringify({ dag_id: dagId, dag_run_id: runId })}\n`;
      while (!gone.aborted) {
        const progress = await runProgress(db, id);
        if (!progress) throw notFound(`the run ${runId} of ${dagId} was deleted`);
        const tasks = progress.tasks.filter((task) => isNew(known, task));
        if (tasks.length > 0) yield `${JSON.stringify({ tasks })}\n`;
        if (progress.state === "success" || progress.state === "failed") {
          yield `${JSON.stringify({ state: progress.state })}\n`;
          return;
        }
        await changes.next();
      }
    } finally {
      changes.stop();
    }
  }

  async function end({ dagId, runId }: Run, userName: string): Promise<void> {
    const run = await findDagRunSummary(db, dagId, runId);
    if (run?.state === "queued" || run?.state === "running")
      await patchRun(context, run, { state: "failed" }, userName);
  }
}

function chosenDag(path: string, { dagIds, error, conflicts }: OpenedDagFile, asked: string | null): string {
  const taken = conflicts.find(({ dagId }) => asked === null || dagId === asked);
  if (taken) throw conflict(`the DAG ${taken.dagId} of ${path} belongs to ${taken.owner} of the workspace already`);
  if (error !== null) throw new ApiError(422, error);
  if (asked !== null) {
    if (dagIds.includes(asked)) return asked;
    throw notFound(`${path} has no DAG ${asked}; it has ${[...dagIds].sort().join(", ") || "none"}`);
  }
  const [only, ...more] = dagIds;
  if (only === undefined) throw notFound(`${path} has no DAG`);
  if (more.length > 0) throw badRequest(`${path} has several DAGs, name one: ${[...dagIds].sort().join(", ")}`);
  return only;
}

/** Remembers the task instance as it is; false where it was so before. */
function isNew(known: Map<string, string>, task: TaskProgress): boolean {
  const key = `${task.map_index} ${task.task_id}`;
  const now = `${task.state} ${task.try_number} ${task.end_date}`;
  if (known.get(key) === now) return false;
  known.set(key, now);
  return true;
}

/** Tells when a run may have moved on. */
class RunChanges {
  readonly #stops: (() => void)[];
  #timer: NodeJS.Timeout | undefined;
  #due = performance.now();
  #wake: (() => void) | null = null;

  constructor({ bus }: ApiContext, dagRunId: number, gone: AbortSignal) {
    const soon = (event: { dagRunId: number }) => {
      if (event.dagRunId === dagRunId) this.#at(SETTLED_MS);
    };
    this.#stops = [bus.on("task-instance", soon), bus.on("dag-run", soon)];
    gone.addEventListener("abort", () => this.#wake?.());
  }

  next(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      if (this.#timer === undefined) this.#at(LOOK_MS);
    });
  }

  stop(): void {
    for (const stop of this.#stops) stop();
    clearTimeout(this.#timer);
  }

  #at(ms: number): void {
    const due = performance.now() + ms;
    if (this.#timer !== undefined && this.#due <= due) return;
    clearTimeout(this.#timer);
    this.#due = due;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#wake?.();
    }, ms);
  }
}
