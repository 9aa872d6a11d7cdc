"""DAGs that wait for assets, and what their tasks see of the events."""

from __future__ import annotations

from airflow.sdk import (
    DAG,
    Asset,
    AssetAlias,
    AssetOrTimeSchedule,
    CronTriggerTimetable,
    FixedKeyMapper,
    PartitionedAssetTimetable,
    RollupMapper,
    SegmentWindow,
    task,
)

RAW = Asset("raw", "file:///data/raw", extra={"owner": "me"})
CLEAN = Asset("clean")
KEYED = Asset("keyed")


@task
def see(triggering_asset_events=None, dag_run=None):
    return {
        "events": sorted(
            [asset.name, len(events), [event.extra for event in events], [event.source_task_instance.task_id for event in events]]
            for asset, events in triggering_asset_events.items()
        ),
        "type": dag_run.run_type.value,
        "logical_date": dag_run.logical_date,
        "interval": [dag_run.data_interval_start, dag_run.data_interval_end],
        "partition": dag_run.partition_key,
    }


with DAG("on_raw", schedule=RAW):
    see()

with DAG("on_both", schedule=RAW & CLEAN):
    see()

with DAG("on_any", schedule=RAW | CLEAN, max_active_runs=1):
    see()

with DAG("on_alias", schedule=AssetAlias("reports")):

    @task
    def see_alias(triggering_asset_events=None):
        return [
            [event.asset.uri, event.extra, [alias.name for alias in event.source_aliases]]
            for event in triggering_asset_events[Asset("report", "s3://reports/today")]
        ]

    see_alias()

with DAG("on_unknown_alias", schedule=AssetAlias("nobody updates it")):
    see()

with DAG("on_reference", schedule=Asset.ref(name="raw")):
    see()

with DAG(
    "on_raw_or_time",
    schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable("0 0 1 1 *", timezone="UTC"), assets=[RAW]),
):
    see()

with DAG("on_keyed", schedule=PartitionedAssetTimetable(assets=KEYED)):
    see()

with DAG(
    "on_all_keys",
    schedule=PartitionedAssetTimetable(
        assets=KEYED,
        default_partition_mapper=RollupMapper(
            upstream_mapper=FixedKeyMapper("everywhere"), window=SegmentWindow(["eu", "us"])
        ),
    ),
):
    see()

with DAG("chained", schedule=CLEAN):

    @task(inlets=[RAW, AssetAlias("reports")], outlets=[Asset("final")])
    def read(inlet_events=None):
        raw = inlet_events[RAW]
        reports = inlet_events[AssetAlias("reports")]
        return [len(raw), raw[-1].extra, len(reports)]

    read()

with DAG("on_final", schedule=Asset("final")):
    see()

ROUND = Asset("round")
with DAG("circle", schedule=ROUND):

    @task(outlets=[ROUND])
    def turn():
        return 1

    turn()

with DAG("keeper", schedule=None):

    @task(inlets=[RAW], outlets=[CLEAN])
    def keep(asset_state_store=None):
        before = asset_state_store[RAW].get("mark", default=None)
        asset_state_store[RAW].set("mark", (before or 0) + 1)
        return [before]

    keep()
