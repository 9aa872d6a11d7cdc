"""One story told with Airflow's official client: argv is the server's address, a user and a password; it prints what it saw as JSON."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime, timezone

import urllib3
from airflow_client.client import ApiClient, ApiException, Configuration
from airflow_client.client import models as m
from airflow_client.client.api import (
    AssetApi,
    BackfillApi,
    ConnectionApi,
    DAGApi,
    DagRunApi,
    EventLogApi,
    PoolApi,
    TaskInstanceApi,
    VariableApi,
    VersionApi,
    XComApi,
)

HOST, USER, PASSWORD = sys.argv[1:]
DAG, RUN = "contract", "by_client"

answer = urllib3.request("POST", f"{HOST}/auth/token", json={"username": USER, "password": PASSWORD})
client = ApiClient(Configuration(host=HOST, access_token=answer.json()["access_token"]))
dags, runs, tasks, xcoms = DAGApi(client), DagRunApi(client), TaskInstanceApi(client), XComApi(client)
saw: dict[str, object] = {}


def day(number: int, month: int = 3) -> datetime:
    return datetime(2026, month, number, tzinfo=timezone.utc)


def entry(task_id: str, key: str) -> dict[str, str]:
    """The client's methods have these in orders of their own."""
    return {"dag_id": DAG, "dag_run_id": RUN, "task_id": task_id, "xcom_key": key}


def refused(call, *args, **kwargs) -> int:
    try:
        call(*args, **kwargs)
    except ApiException as error:
        return error.status
    return 200


def ended(run_id: str) -> str:
    for _ in range(600):
        state = runs.get_dag_run(DAG, run_id).state.value
        if state in ("success", "failed"):
            return state
        time.sleep(0.05)
    raise TimeoutError(run_id)


saw["version"] = VersionApi(client).get_version().version
saw["unpaused"] = not dags.patch_dag(DAG, m.DAGPatchBody(is_paused=False), update_mask=["is_paused"]).is_paused
saw["tagged"] = [dag.dag_id for dag in dags.get_dags(tags=["contract"], order_by=["dag_id"]).dags]
saw["params"] = sorted(dags.get_dag_details(DAG).params)

made = runs.trigger_dag_run(
    DAG, m.TriggerDAGRunPostBody(dag_run_id=RUN, logical_date=day(1), conf={"count": 3, "fails": True}, note="mine")
)
saw["triggered"] = [made.dag_run_id, made.state.value, made.conf, made.note, made.logical_date.isoformat()]
saw["again"] = refused(runs.trigger_dag_run, DAG, m.TriggerDAGRunPostBody(dag_run_id=RUN, logical_date=None))
# A stream of JSON lines, which the client does not read: only that it comes to an end is of use.
saw["waited"] = runs.wait_dag_run_until_finished_without_preload_content(DAG, RUN, interval=1).status
saw["ended"] = ended(RUN)

listed = runs.get_dag_runs(DAG, state=["failed"], run_id_pattern=RUN, logical_date_gte=day(1), order_by=["-logical_date"])
saw["listed"] = [run.dag_run_id for run in listed.dag_runs]
page = tasks.get_task_instances(DAG, RUN, limit=2, offset=1, order_by=["-map_index"])
saw["page"] = [[ti.task_id, ti.map_index, ti.state.value] for ti in page.task_instances] + [page.total_entries]
seen, cursor = [], ""
while cursor is not None:
    part = tasks.get_task_instances(DAG, RUN, limit=4, cursor=cursor)
    seen += [ti.task_id for ti in part.task_instances]
    cursor = part.next_cursor
saw["by cursor"] = sorted(seen)
saw["mapped"] = [ti.rendered_map_index for ti in tasks.get_mapped_task_instances(DAG, RUN, "double").task_instances]
saw["tries"] = [ti.state.value for ti in tasks.get_task_instance_tries(DAG, RUN, "parts.fails").task_instances]
log = tasks.get_log(DAG, RUN, "numbers", 1, full_content=True)
saw["log"] = "counting" in str(log.content.actual_instance)

saw["xcom"] = xcoms.get_xcom_entry(**entry("parts.writes", "mixed"), deserialize=True).to_dict()["value"]
saw["xcoms"] = sorted({entry.key for entry in xcoms.get_xcom_entries(dag_id=DAG, dag_run_id=RUN, task_id="~").xcom_entries})
body = m.XComCreateBody(key="made", value={"a": 1.5})
xcoms.create_xcom_entry(dag_id=DAG, dag_run_id=RUN, task_id="numbers", x_com_create_body=body)
xcoms.update_xcom_entry(**entry("numbers", "made"), x_com_update_body=m.XComUpdateBody(value=[2]))
xcoms.delete_xcom_entry(**entry("numbers", "made"))

patched = tasks.patch_task_instance(DAG, RUN, "parts.fails", m.PatchTaskInstanceBody(new_state="success", note="by hand"))
saw["patched"] = [[ti.task_id, ti.state.value, ti.note] for ti in patched.task_instances]
noted = runs.patch_dag_run(DAG, RUN, m.DAGRunPatchBody(note="noted", state="failed"))
saw["noted"] = [noted.note, noted.state.value]
body = m.ClearTaskInstancesBody(dag_run_id=RUN, dry_run=True, only_failed=False, task_ids=[m.ClearTaskInstancesBodyTaskIdsInner("parts.fails")])
saw["would clear"] = tasks.post_clear_task_instances(DAG, body).total_entries
body.dry_run = False
saw["cleared"] = tasks.post_clear_task_instances(DAG, body).total_entries
saw["ended again"] = ended(RUN)

backfills = BackfillApi(client)
post = m.BackfillPostBody(dag_id=DAG, from_date=day(1, 4), to_date=day(30, 4), max_active_runs=1, run_backwards=True)
saw["dry backfill"] = backfills.create_backfill_dry_run(post).total_entries
backfill = backfills.create_backfill(post)
saw["backfill"] = [
    backfills.pause_backfill(backfill.id).is_paused,
    backfills.unpause_backfill(backfill.id).is_paused,
    backfills.cancel_backfill(backfill.id).completed_at is not None,
    refused(backfills.pause_backfill, backfill.id),
]

pools = PoolApi(client)
pools.post_pool(m.PoolBody(name="by_client", slots=3))
saw["pool"] = pools.get_pool("by_client").open_slots
pools.delete_pool("by_client")
saw["pool gone"] = refused(pools.get_pool, "by_client")

variables = VariableApi(client)
bulk = m.BulkBodyVariableBody.from_dict(
    {
        "actions": [
            {"action": "create", "entities": [{"key": f"v{n}", "value": {"n": n}} for n in range(3)]},
            {"action": "delete", "entities": ["v2", "none"], "action_on_non_existence": "skip"},
        ]
    }
)
done = variables.bulk_variables(bulk)
saw["bulk"] = [sorted(done.create.success), done.delete.success, done.update]
saw["variables"] = [[one.key, one.value] for one in variables.get_variables(variable_key_pattern="v_", order_by=["-key"]).variables]
for key in ("v0", "v1"):
    variables.delete_variable(key)

connections = ConnectionApi(client)
connections.post_connection(m.ConnectionBody(connection_id="by_client", conn_type="http", host="a", password="hidden", extra='{"token": "x"}'))
kept = connections.patch_connection("by_client", m.ConnectionBody(connection_id="by_client", conn_type="http", host="b"), update_mask=["host"])
saw["connection"] = [kept.host, kept.password, kept.extra]
connections.delete_connection("by_client")

assets = AssetApi(client)
asset = assets.get_assets(name_pattern="contract_numbers").assets[0]
saw["asset"] = [asset.name, asset.group, [task.task_id for task in asset.producing_tasks]]
event = assets.create_asset_event(m.CreateAssetEventsBody(asset_id=asset.id, extra={"n": 1}))
saw["event"] = [event.extra["n"], event.source_task_id]
materialized = assets.materialize_asset(asset.id, materialize_asset_body=m.MaterializeAssetBody(dag_run_id="materialized"))
saw["materialized"] = [materialized.dag_id, materialized.run_type.value, ended("materialized")]

saw["events"] = sorted({one.event for one in EventLogApi(client).get_event_logs(dag_id=DAG, run_id=RUN).event_logs})
runs.delete_dag_run(DAG, RUN)
saw["deleted"] = refused(runs.get_dag_run, DAG, RUN)
print(json.dumps(saw, default=str))
