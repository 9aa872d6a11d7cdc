import { until } from "../support/until.ts";
import type { Contract } from "./contract.ts";

const RUNS = "/api/v2/dags/{dag_id}/dagRuns";
const DEADLINE_SECONDS = 60;

/** Has Lite's DAGs of test/contract/dags run, and learns the names and ids that paths are made of. */
export async function populate(contract: Contract): Promise<void> {
  const { known } = contract;
  Object.assign(known, {
    dag_id: "contract",
    dag_run_id: "full",
    run_id: "full",
    task_id: "parts.writes",
    group_id: "parts",
    map_index: -1,
    try_number: 1,
    task_try_number: 1,
    version_number: 1,
    xcom_key: "mixed",
    key: "position",
    pool_name: "contract_pool",
    variable_key: "contract/a",
    connection_id: "contract_db",
    section: "core",
    option: "parallelism",
  });
  const get = async <T>(operation: string, call: Parameters<Contract["ask"]>[1] = {}): Promise<T> => {
    const { status, body } = await contract.ask(operation, call);
    if (status >= 400) throw new Error(`${operation}: ${status} ${JSON.stringify(body)}`);
    return body as T;
  };

  await until(
    "all DAGs are there",
    async () => (await get<{ total_entries: number }>("GET /api/v2/dags")).total_entries === 5,
    DEADLINE_SECONDS,
  );
  await get("POST /api/v2/pools", { body: { name: "contract_pool", slots: 2, include_deferred: false } });
  await get("POST /api/v2/variables", { body: { key: "contract/a", value: "1", description: "one" } });
  await get("POST /api/v2/connections", {
    body: { connection_id: "contract_db", conn_type: "postgres", host: "nowhere", port: 5432, password: "secret" },
  });
  await get("PATCH /api/v2/dags/{dag_id}", { body: { is_paused: false }, query: { update_mask: "is_paused" } });
  await get(`POST ${RUNS}`, {
    body: { dag_run_id: "full", logical_date: "2026-01-02T00:00:00Z", conf: {}, note: "first" },
  });
  await get(`POST ${RUNS}`, { body: { dag_run_id: "bad", logical_date: null, conf: { fails: true } } });
  await get(`POST ${RUNS}`, { path: { dag_id: "contract_asks" }, body: { dag_run_id: "asks", logical_date: null } });
  await until(
    "the runs have ended",
    async () => {
      const { dag_runs: runs } = await get<{ dag_runs: { state: string }[] }>(`GET ${RUNS}`, {
        query: { state: ["success", "failed"], run_id_pattern: "full|bad" },
      });
      return runs.length === 2;
    },
    DEADLINE_SECONDS,
  );
  await until(
    "its question is asked",
    async () =>
      (
        await get<{ total_entries: number }>("GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/hitlDetails", {
          path: { dag_id: "~", dag_run_id: "~" },
        })
      ).total_entries === 1,
    DEADLINE_SECONDS,
  );
  await until(
    "the broken file is told of",
    async () => (await get<{ total_entries: number }>("GET /api/v2/importErrors")).total_entries === 1,
    DEADLINE_SECONDS,
  );
  const { assets } = await get<{ assets: { id: number }[] }>("GET /api/v2/assets", {
    query: { name_pattern: "contract_numbers" },
  });
  const { asset_aliases: aliases } = await get<{ asset_aliases: { id: number }[] }>("GET /api/v2/assets/aliases");
  const { event_logs: logs } = await get<{ event_logs: { event_log_id: number }[] }>("GET /api/v2/eventLogs");
  const { import_errors: broken } = await get<{ import_errors: { import_error_id: number }[] }>(
    "GET /api/v2/importErrors",
  );
  const { file_token: token } = await get<{ file_token: string }>("GET /api/v2/dags/{dag_id}");
  const state = { value: { at: 7 } };
  await get("PUT /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/state-store/{key}", {
    body: state,
  });
  const backfill = await get<{ id: number }>("POST /api/v2/backfills", {
    body: {
      dag_id: "contract",
      from_date: "2026-01-05T00:00:00Z",
      to_date: "2026-01-08T00:00:00Z",
      max_active_runs: 1,
    },
  });
  Object.assign(known, {
    asset_id: assets[0]?.id ?? 0,
    asset_alias_id: aliases[0]?.id ?? 0,
    event_log_id: logs[0]?.event_log_id ?? 0,
    import_error_id: broken[0]?.import_error_id ?? 0,
    file_token: token,
    backfill_id: backfill.id,
  });
  await get("PUT /api/v2/backfills/{backfill_id}/cancel");
  await get("PUT /api/v2/assets/{asset_id}/state-store/{key}", { body: state });
}
