"""DAGs that update assets (`asset_p_*`), and DAGs that wait for them. asset_scenarios.ts says what happens to them."""
import datetime
import json

from acts import NO_DELAY, START, act, empty, step
from airflow.sdk import (
    DAG,
    AllowedKeyMapper,
    Asset,
    AssetAlias,
    AssetOrTimeSchedule,
    ChainMapper,
    CronDataIntervalTimetable,
    CronPartitionTimetable,
    FanOutMapper,
    FixedKeyMapper,
    IdentityMapper,
    Metadata,
    MinimumCount,
    PartitionedAssetTimetable,
    PartitionedAtRuntime,
    ProductMapper,
    RollupMapper,
    SegmentWindow,
    StartOfDayMapper,
    StartOfHourMapper,
    StartOfMonthMapper,
    StartOfWeekMapper,
    WeekWindow,
    asset,
    task,
)
from airflow.sdk.exceptions import AirflowSkipException


def told(events):
    """What a run says of the events it was made for, in an order of its own: mapped tasks end in any."""
    return sorted(
        (
            [
                event.asset.name,
                event.asset.uri,
                event.asset.extra,
                event.extra,
                event.source_dag_id,
                event.source_task_id,
                event.source_map_index,
                sorted(alias.name for alias in event.source_aliases),
                event.partition_key,
            ]
            for event in events
        ),
        key=json.dumps,
    )


@task
def see(triggering_asset_events=None, dag_run=None, **context):
    return {
        # With an alias in the schedule, an event is there for its asset and for the alias.
        "by": sorted([type(key).__name__, key.name, len(events)] for key, events in triggering_asset_events.items()),
        "events": told(
            event for key, events in triggering_asset_events.items() if isinstance(key, Asset) for event in events
        ),
        "dates": [str(context.get(name)) for name in ("logical_date", "data_interval_start", "data_interval_end", "ds")],
        "partition": [dag_run.partition_key, str(dag_run.partition_date)],
        "type": dag_run.run_type.value,
    }


def waits(dag_id, schedule, **arguments):
    with DAG(dag_id, start_date=START, catchup=False, schedule=schedule, **arguments):
        see()


def updates(dag_id, *outlets, act=None, dag=None, **arguments):
    """A DAG whose task updates these; `act` says of what."""

    def work(outlet_events=None, dag_run=None, **context):
        return act(outlet_events=outlet_events, dag_run=dag_run) if act else "made"

    with DAG(dag_id, start_date=START, **{"schedule": None, **(dag or {})}):
        task(task_id="make", outlets=list(outlets), **arguments)(work)()


# One asset, with extra.
ONE = Asset("asset_one", "s3://bucket/one", group="g", extra={"fixed": [1, 2.0]})
updates("asset_p_one", ONE, act=lambda outlet_events, **_: outlet_events[ONE].extra.update(n=1, ratio=1.0, deep={"a": [None, True]}))
waits("asset_one", ONE)
waits("asset_listed", [Asset("asset_listed")])

# And, or.
A, B = (Asset(f"asset_{name}") for name in "ab")
updates("asset_p_a", A)
updates("asset_p_b", B)
updates("asset_p_ab", A, B)
A2, B2, C2 = (Asset(f"asset_{name}2") for name in "abc")
A3, B3 = (Asset(f"asset_{name}3") for name in "ab")
updates("asset_p_a2", A2)
updates("asset_p_b2", B2)
updates("asset_p_c2", C2)
updates("asset_p_ab3", A3, B3)
waits("asset_all", A & B)
waits("asset_nested", (A2 & B2) | C2)
waits("asset_any", A3 | B3)

# Aliases and references.
ALIAS, ALIAS_TWO = AssetAlias("asset_alias"), AssetAlias("asset_alias_two")
VIA = Asset("asset_via_alias", "s3://via/alias")


def through_aliases(outlet_events, **_):
    outlet_events[ALIAS].add(VIA, extra={"b": 1, "a": 2.0})
    outlet_events[ALIAS_TWO].add(VIA, extra={"a": 2.0, "b": 1})
    outlet_events[ALIAS].add(Asset("asset_via_alias_two"))


updates("asset_p_alias", ALIAS, ALIAS_TWO, act=through_aliases)
updates("asset_p_alias_silent", AssetAlias("asset_alias_silent"))
waits("asset_by_alias", ALIAS_TWO)
waits("asset_by_unknown_alias", AssetAlias("asset_alias_unknown"))
waits("asset_by_silent_alias", AssetAlias("asset_alias_silent"))
REFERRED = Asset("asset_referred", "s3://referred")
updates("asset_p_referred", REFERRED)
updates("asset_p_by_reference", Asset.ref(name="asset_referred"))
waits("asset_by_name", Asset.ref(name="asset_referred"))
waits("asset_by_uri", Asset.ref(uri="s3://referred/"))
waits("asset_by_unknown_name", Asset.ref(name="asset_nobody"))

# Mapped tasks, metadata, retries, clears, and tasks that do not succeed.
MAPPED, GATE = Asset("asset_mapped"), Asset("asset_gate")
with DAG("asset_p_mapped", start_date=START, schedule=None):

    @task(outlets=[MAPPED])
    def each(n, outlet_events=None):
        outlet_events[MAPPED].extra = {"n": n}

    @task(outlets=[GATE])
    def gate():
        yield Metadata(GATE, {"from": "metadata"})

    each.expand(n=[1, 2, 3]) >> gate()
waits("asset_of_mapped", MAPPED & GATE)
RETRIED = Asset("asset_retried")
with DAG("asset_p_retried", start_date=START, schedule=None):
    step("make", "fail_until_2", retries=2, outlets=[RETRIED])
waits("asset_of_retried", RETRIED)
FAILED = Asset("asset_failed")
with DAG("asset_p_failed", start_date=START, schedule=None):
    step("fails", "fail", outlets=[FAILED]) >> step("upstream_failed", outlets=[FAILED])
    step("skips", "skip", outlets=[FAILED]) >> step("skipped", outlets=[FAILED])
waits("asset_of_failed", FAILED)
NOTHING = Asset("asset_nothing")
with DAG("asset_p_nothing", start_date=START, schedule=None):
    empty("nothing", outlets=[NOTHING])
waits("asset_of_nothing", NOTHING)
AGAIN = Asset("asset_again")
updates("asset_p_again", AGAIN)
waits("asset_of_cleared", AGAIN)

# Not while paused; not more than max_active_runs; not what came before.
PAUSED = Asset("asset_paused")
updates("asset_p_paused", PAUSED)
waits("asset_paused", PAUSED)
BUSY = Asset("asset_busy")
with DAG("asset_busy", start_date=START, schedule=BUSY, max_active_runs=1):

    @task
    def takes_time(dag_run=None):
        import time

        time.sleep(dag_run.conf.get("seconds", 0))

    takes_time() >> see()

# Assets or time.
EITHER = Asset("asset_either")
updates("asset_p_either", EITHER)
with DAG(
    "asset_or_time",
    start_date=START,
    end_date=START + datetime.timedelta(days=1),
    catchup=True,
    schedule=AssetOrTimeSchedule(timetable=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"), assets=[EITHER]),
):
    see()

# One after the other, and round in a circle.
FIRST, SECOND, ROUND = Asset("asset_first"), Asset("asset_second"), Asset("asset_round")
updates("asset_p_first", FIRST, act=lambda outlet_events, **_: outlet_events[FIRST].extra.update(n=1))
with DAG("asset_second", start_date=START, schedule=FIRST):

    @task(inlets=[FIRST], outlets=[SECOND])
    def more(inlet_events=None, outlet_events=None):
        n = inlet_events[FIRST][-1].extra["n"] + 1
        outlet_events[SECOND].extra = {"n": n}
        return n

    more()
waits("asset_third", SECOND)
with DAG("asset_circle", start_date=START, schedule=ROUND, max_active_runs=1):

    @task(outlets=[ROUND])
    def turn(triggering_asset_events=None, outlet_events=None):
        (event,) = triggering_asset_events[ROUND]
        n = event.extra.get("n", 0) + 1
        if n > 3:
            raise AirflowSkipException("often enough")
        outlet_events[ROUND].extra = {"n": n}
        return n

    turn()

# Decorated assets.


@asset(schedule=None)
def asset_made(self, context):
    return {"name": self.name, "rows": [1, 2.0]}


@asset(schedule=asset_made, uri="s3://made/next", group="made")
def asset_made_next(self, asset_made, context):
    return [asset_made.name, len(context["inlet_events"][asset_made])]


@asset.multi(schedule=None, outlets=[Asset("asset_multi_a"), Asset("asset_multi_b")])
def asset_p_multi(outlet_events):
    outlet_events[Asset("asset_multi_a")].extra = {"which": "a"}


waits("asset_of_multi", Asset("asset_multi_a") & Asset("asset_multi_b"))

# A name can stand for one asset only: whoever has it second fails.
with DAG("asset_0_taken", start_date=START, schedule=None):
    empty("first", outlets=[Asset("asset_taken", "s3://first")])
with DAG("asset_conflict", start_date=START, schedule=None):
    step("inactive", outlets=[Asset("asset_taken", "s3://second")]) >> step("behind")
    step("reads", inlets=[Asset("asset_taken", "s3://second")])

# What is kept for an asset.
KEPT = Asset("asset_kept")
with DAG("asset_keeps", start_date=START, schedule=None):

    @task(outlets=[KEPT])
    def mark(asset_state_store=None):
        store = asset_state_store[KEPT]
        before = [store.get("mark", default="none"), store.get("other", default=None)]
        store.set("mark", {"n": 1.0, "list": [1, None]})
        store.set("other", "x")
        store.delete("other")
        return before

    mark()

# Events that are told of from outside.
waits("asset_from_outside", Asset("asset_outside") & Asset("asset_outside_too"))
OUTSIDE = Asset("asset_materialized")
updates("asset_materialized", OUTSIDE)
waits("asset_of_materialized", OUTSIDE)

# Partitions.
HOURS = Asset("asset_hours")
updates("asset_p_hours", HOURS, dag={"schedule": PartitionedAtRuntime()})
waits("asset_hourly", PartitionedAssetTimetable(assets=HOURS, default_partition_mapper=StartOfHourMapper()))
waits("asset_daily_paris", PartitionedAssetTimetable(assets=HOURS, default_partition_mapper=StartOfDayMapper(timezone="Europe/Paris")))
waits("asset_unpartitioned", HOURS)
waits(
    "asset_chained_months",
    PartitionedAssetTimetable(
        assets=HOURS, default_partition_mapper=ChainMapper(StartOfDayMapper(), StartOfMonthMapper(input_format="%Y-%m-%d"))
    ),
)
waits(
    "asset_fan_out",
    PartitionedAssetTimetable(
        assets=HOURS, default_partition_mapper=FanOutMapper(upstream_mapper=StartOfWeekMapper(), window=WeekWindow())
    ),
)
waits(
    "asset_fan_out_exceeded",
    PartitionedAssetTimetable(
        assets=HOURS,
        default_partition_mapper=FanOutMapper(upstream_mapper=StartOfWeekMapper(), window=WeekWindow(), max_downstream_keys=3),
    ),
)

PLACES, OTHER_PLACES = Asset("asset_places"), Asset("asset_other_places")
updates(
    "asset_p_places",
    PLACES,
    act=lambda outlet_events, dag_run: outlet_events[PLACES].add_partitions(dag_run.conf["keys"]),
    dag={"schedule": PartitionedAtRuntime()},
)
updates(
    "asset_p_other_places",
    OTHER_PLACES,
    act=lambda outlet_events, dag_run: outlet_events[OTHER_PLACES].add_partitions(dag_run.conf["keys"]),
    dag={"schedule": PartitionedAtRuntime()},
)
waits("asset_by_place", PartitionedAssetTimetable(assets=PLACES & OTHER_PLACES))
waits(
    "asset_everywhere",
    PartitionedAssetTimetable(
        assets=PLACES,
        default_partition_mapper=RollupMapper(upstream_mapper=FixedKeyMapper("everywhere"), window=SegmentWindow(["eu", "us"])),
    ),
)
waits(
    "asset_somewhere",
    PartitionedAssetTimetable(
        assets=PLACES,
        default_partition_mapper=RollupMapper(
            upstream_mapper=FixedKeyMapper("somewhere"), window=SegmentWindow(["eu", "us", "asia"]), wait_policy=MinimumCount(2)
        ),
    ),
)
waits(
    "asset_allowed_places",
    PartitionedAssetTimetable(assets=PLACES, partition_mapper_config={PLACES: AllowedKeyMapper(["eu"])}),
)
waits("asset_no_product", PartitionedAssetTimetable(assets=PLACES, default_partition_mapper=ProductMapper(IdentityMapper(), IdentityMapper())))

with DAG(
    "asset_cron_partition",
    start_date=START,
    end_date=START + datetime.timedelta(days=2),
    catchup=True,
    schedule=CronPartitionTimetable("0 0 * * *", timezone="Europe/Paris", run_offset=-1, key_format="%d.%m.%Y"),
):
    task(task_id="make", outlets=[Asset("asset_of_days")], retry_delay=NO_DELAY)(act)()
    see()
waits("asset_by_day", PartitionedAssetTimetable(assets=Asset("asset_of_days")))
