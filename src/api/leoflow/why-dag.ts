import { isSatisfied, keyText, leavesOf, type AssetLeaf } from "../../domain/asset/asset-condition.ts";
import type { DagGraph } from "../../domain/dag-graph.ts";
import { assetConditionOf } from "../../domain/partition/partitioned-schedule.ts";
import type { MakingHold } from "../../domain/run-making.ts";
import { timetableFor } from "../../domain/timetable/timetable-for.ts";
import { assetHolds, assetSchedule, resolveLeaves, type AssetScheduleRow } from "../../store/asset-runs.ts";
import { dagSchedules, scheduleHolds, type DagScheduleRow } from "../../store/dag-schedule.ts";
import { liveRunsOf, type DagStanding, type RunStanding } from "../../store/waiting-work.ts";
import type { ApiContext } from "../context.ts";
import type { Reason } from "./why-contract.ts";
import { dagPaused, listed, named, written } from "./why-reason.ts";
import { namedRun, whyRunWaits } from "./why-run.ts";

/** Live runs that are looked at; a DAG seldom has as many. */
export const LIVE_RUNS = 500;

/** Why the DAG has no new run now: what holds it, what it waits for, and the runs it has. */
export async function whyDag(context: ApiContext, dagId: string, standing: DagStanding): Promise<Reason[]> {
  const [row] = await dagSchedules(context.db, [dagId]);
  if (!row || standing.current_version_id === null) {
    const reason: Reason = {
      code: "no_version",
      message: `DAG ${dagId} was never read without an error: it cannot run.`,
    };
    return [reason, ...(standing.import_error === null ? [] : [importErrors(standing)])];
  }
  const graph = await context.graph(standing.current_version_id);
  const live = await liveRunsOf(context.db, dagId, LIVE_RUNS);
  const assets = assetConditionOf(graph.timetable) ? await assetSchedule(context.db, dagId) : null;
  const isTimed = assets === null || row.next_dagrun_create_after !== null || row.timetable_error !== null;
  const holds = new Set([
    ...(isTimed ? scheduleHolds(row, graph.maxActiveRuns) : []),
    ...(assets ? assetHolds(assets) : []),
  ]);
  return [
    ...[...holds].map((hold) => whyNoneIsMade(hold, { dagId, standing, row, live, graph })),
    ...ofSchedule(row, graph, context.kit.clock.now()),
    ...(assets ? await ofAssets(context, graph, assets) : []),
    ...(await ofLiveRuns(context, live, row.is_paused, holds)),
  ];
}

interface Facts {
  dagId: string;
  standing: DagStanding;
  row: DagScheduleRow;
  live: readonly RunStanding[];
  graph: DagGraph;
}

function whyNoneIsMade(hold: MakingHold, { dagId, standing, row, live, graph }: Facts): Reason {
  switch (hold) {
    case "paused":
      return dagPaused(dagId);
    case "stale":
      return {
        code: hold,
        file: standing.relative_fileloc,
        message: `DAG ${dagId} is no longer in its file ${standing.relative_fileloc}.`,
      };
    case "import_errors":
      return importErrors(standing);
    case "run_type":
      return {
        code: hold,
        message: `DAG ${dagId} allows no runs of its schedule (allowed_run_types: ${listed(row.allowed_run_types ?? [])}).`,
      };
    case "max_active_runs": {
      const counted = live.filter(({ run_type: type }) => type !== "backfill");
      const { shown, more } = named(counted);
      const names = shown.map(({ run_id: id, state }) => `${id} (${state})`);
      const limit = graph.maxActiveRuns ?? 0;
      return {
        code: hold,
        limit,
        message: `max_active_runs=${limit} is reached: ${listed(names, more)}.`,
        dag_runs: shown.map(namedRun),
        ...(more === undefined ? {} : { more }),
      };
    }
  }
}

function importErrors({ relative_fileloc: file, import_error: trace }: DagStanding): Reason {
  const last = trace?.trimEnd().split("\n").at(-1)?.trim() ?? "";
  return {
    code: "import_errors",
    file,
    message: `Its file ${file} cannot be imported${last === "" ? "" : `: ${last}`}`,
    ...(trace === null ? {} : { details: trace }),
  };
}

function ofSchedule(row: DagScheduleRow, graph: DagGraph, now: string): Reason[] {
  const { next_dagrun_create_after: next, timetable_error: error } = row;
  if (error !== null)
    return [
      {
        code: "timetable_error",
        message: `Its timetable named no next run: ${error.split("\n")[0] ?? ""}`,
        details: error,
      },
    ];
  if (next !== null) {
    const message =
      next > now ? `The next scheduled run is due at ${written(next)}.` : `A run is due since ${written(next)}.`;
    return [{ code: "next_run", message, ...(next > now ? { until: next } : { since: next }) }];
  }
  if (assetConditionOf(graph.timetable)) return [];
  const timetable = timetableFor(graph.timetable);
  if (timetable.kind !== "custom" && !timetable.canBeScheduled)
    return [{ code: "no_schedule", message: "It has no schedule: it runs when it is triggered." }];
  return [{ code: "schedule_ended", message: "Its schedule has no further run." }];
}

async function ofAssets({ db }: ApiContext, graph: DagGraph, schedule: AssetScheduleRow): Promise<Reason[]> {
  const condition = assetConditionOf(graph.timetable);
  if (condition === null) return [];
  const leaves = [...leavesOf(condition)];
  const resolve = await resolveLeaves(db, leaves);
  const updated = new Map(schedule.queued.map((asset) => [keyText(asset), asset.created_at]));
  const isUpdated = (asset: { name: string; uri: string }) => updated.has(keyText(asset));
  if (isSatisfied(condition, isUpdated, resolve)) {
    return [{ code: "assets", message: "What it waits for was updated." }];
  }
  const partitions = schedule.pending_partitions;
  const partly = partitions > 0 ? ` ${partitions} of its partitions wait for the rest of their assets.` : "";
  const assets = leaves.map((leaf) => ({ leaf, isUpdated: isSatisfied(leaf, isUpdated, resolve) }));
  const missing = assets.filter((asset) => !asset.isUpdated).map(({ leaf }) => leafName(leaf));
  const have = assets.filter((asset) => asset.isUpdated).map(({ leaf }) => leafName(leaf));
  return [
    {
      code: "assets",
      message:
        `It waits for updates of ${listed(missing)}` +
        (have.length > 0 ? `; updated already: ${listed(have)}.` : ".") +
        partly,
      assets: assets.map(({ leaf }) => {
        const at = leaf.kind === "asset" ? updated.get(keyText(leaf)) : undefined;
        return { ...namesOf(leaf), ...(at === undefined ? {} : { updated_at: at }) };
      }),
    },
  ];
}

function namesOf(leaf: AssetLeaf): { name?: string; uri?: string; alias?: string } {
  switch (leaf.kind) {
    case "asset":
      return { name: leaf.name, uri: leaf.uri };
    case "alias":
      return { alias: leaf.name };
    case "name-ref":
      return { name: leaf.name };
    case "uri-ref":
      return { uri: leaf.uri };
  }
}

const leafName = (leaf: AssetLeaf): string => (leaf.kind === "uri-ref" ? leaf.uri : leaf.name);

/** What its runs are doing: which run, where that is not told yet, and what holds the first of those that do not. */
async function ofLiveRuns(
  context: ApiContext,
  live: readonly RunStanding[],
  isPaused: boolean,
  told: ReadonlySet<MakingHold>,
): Promise<Reason[]> {
  const running = live.filter(({ state }) => state === "running");
  const queued = live.filter(({ state }) => state === "queued");
  const found: Reason[] = [];
  if (running.length > 0 && !told.has("max_active_runs")) {
    const { shown, more } = named(running);
    const names = shown.map(({ run_id: id }) => id);
    found.push({
      code: "active_runs",
      message: `${running.length} of its runs ${running.length === 1 ? "is" : "are"} running: ${listed(names, more)}.`,
      dag_runs: shown.map(namedRun),
      ...(more === undefined ? {} : { more }),
    });
  }
  for (const run of queued.slice(0, 3)) found.push(...(await whyRunWaits(context, run, live, isPaused)));
  return found;
}
