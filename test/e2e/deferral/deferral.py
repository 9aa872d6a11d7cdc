"""Tasks that defer, each in a DAG of its own. They also run on Airflow itself: see record.py."""

from __future__ import annotations

import datetime
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.providers.standard.sensors.external_task import ExternalTaskSensor
from airflow.providers.standard.sensors.filesystem import FileSensor
from airflow.providers.standard.sensors.time_delta import TimeDeltaSensor
from airflow.sdk import DAG, BaseOperator, BaseSensorOperator, task
from airflow.triggers.base import StartTriggerArgs

from deferral_triggers import CannotBeMade, DoesTrigger, Unknown, UnknownModule


class Defers(BaseOperator):
    """Defers to a trigger and returns what its event says."""

    template_fields = ("value", "marks")

    def __init__(self, *, what: str = "event", value: Any = None, marks: str | None = None, timeout: float | None = None,
                 times: int = 1, trigger: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.what = what
        self.value = value
        self.marks = marks
        self.timeout = timeout
        self.times = times
        self.trigger = trigger

    def execute(self, context: Any) -> None:
        self._defer(1)

    def _defer(self, time: int) -> None:
        self.defer(
            trigger=self.trigger or DoesTrigger(self.what, self.value, self.marks),
            method_name="resume",
            kwargs={"time": time, "since": datetime.date(2026, 1, 1)},
            timeout=timedelta(seconds=self.timeout) if self.timeout else None,
        )

    def resume(self, context: Any, event: Any, time: int, since: datetime.date) -> Any:
        if time < self.times:
            self._defer(time + 1)
        ti = context["ti"]
        return {"event": repr(event), "time": time, "since": repr(since), "try": ti.try_number}


class DefersAsSensor(BaseSensorOperator):
    def __init__(self, *, what: str, timeout_of_trigger: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.what = what
        self.timeout_of_trigger = timeout_of_trigger

    def execute(self, context: Any) -> None:
        seconds = self.timeout_of_trigger
        self.defer(
            trigger=DoesTrigger(self.what),
            method_name="resume",
            timeout=timedelta(seconds=seconds) if seconds else None,
        )

    def resume(self, context: Any, event: Any) -> Any:
        return repr(event)


class StartsFromTrigger(BaseOperator):
    template_fields = ("value",)
    start_from_trigger = True

    def __init__(self, *, what: str = "event", value: Any = None, next_kwargs: dict | None = None, timeout: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.value = value
        self.start_trigger_args = StartTriggerArgs(
            trigger_cls="deferral_triggers.DoesTrigger",
            trigger_kwargs={"what": what, "value": value},
            next_method="resume",
            next_kwargs=next_kwargs,
            timeout=timedelta(seconds=timeout) if timeout else None,
        )

    def execute(self, context: Any) -> None:
        raise AssertionError("it starts from its trigger")

    def resume(self, context: Any, event: Any, **kwargs: Any) -> Any:
        return [repr(event), repr(kwargs), context["ti"].try_number]


def one(dag_id: str, make: Any) -> DAG:
    with DAG(dag_id, schedule=None) as dag:
        first = make()
        if not isinstance(first, list):
            EmptyOperator(task_id="after", trigger_rule="all_success") << first
    return dag


for what in ("event", "twice", "date", "unserializable", "raise", "nothing", "success", "failed", "skipped", "log"):
    value = {"return_value": {"a": 1.5}, "other": [1, None]} if what in ("success", "failed", "skipped") else "{{ ds_nodash is defined }}"
    globals()[f"defer_{what}"] = one(f"defer_{what}", lambda: Defers(task_id="t", what=what, value=value))

defer_many_times = one("defer_many_times", lambda: Defers(task_id="t", value="again", times=3))
defer_timeout = one("defer_timeout", lambda: Defers(task_id="t", what="forever", timeout=1))
defer_retry = one(
    "defer_retry",
    lambda: Defers(task_id="t", what="raise", value="each time", retries=1, retry_delay=timedelta(seconds=0)),
)
defer_failed_retry = one(
    "defer_failed_retry",
    lambda: Defers(task_id="t", what="failed", value={"x": 1}, retries=1, retry_delay=timedelta(seconds=0)),
)
defer_unknown_class = one("defer_unknown_class", lambda: Defers(task_id="t", trigger=Unknown()))
defer_unknown_module = one("defer_unknown_module", lambda: Defers(task_id="t", trigger=UnknownModule()))
defer_cannot_be_made = one("defer_cannot_be_made", lambda: Defers(task_id="t", trigger=CannotBeMade(1)))
defer_execution_timeout = one(
    "defer_execution_timeout",
    lambda: Defers(task_id="t", what="event", value=1, execution_timeout=timedelta(seconds=30)),
)
defer_sensor_soft_fail = one(
    "defer_sensor_soft_fail", lambda: DefersAsSensor(task_id="t", what="raise", soft_fail=True)
)
defer_sensor_timeout = one(
    "defer_sensor_timeout", lambda: DefersAsSensor(task_id="t", what="forever", timeout_of_trigger=1)
)
defer_sensor_soft_timeout = one(
    "defer_sensor_soft_timeout",
    lambda: DefersAsSensor(task_id="t", what="forever", timeout_of_trigger=1, soft_fail=True),
)
defer_sensor_never_fail = one(
    "defer_sensor_never_fail", lambda: DefersAsSensor(task_id="t", what="raise", never_fail=True)
)
start_from_trigger = one("start_from_trigger", lambda: StartsFromTrigger(task_id="t", value="{{ dag.dag_id }}"))
start_from_trigger_kwargs = one(
    "start_from_trigger_kwargs",
    lambda: StartsFromTrigger(task_id="t", value=[1, 2.0], next_kwargs={"a": 1.0, "b": {"c": [None, True]}}),
)
start_from_trigger_raise = one("start_from_trigger_raise", lambda: StartsFromTrigger(task_id="t", what="raise"))
start_from_trigger_timeout = one(
    "start_from_trigger_timeout", lambda: StartsFromTrigger(task_id="t", what="forever", timeout=1)
)
start_from_trigger_execution_timeout = one(
    "start_from_trigger_execution_timeout",
    lambda: StartsFromTrigger(task_id="t", what="forever", execution_timeout=timedelta(seconds=1)),
)
start_from_trigger_retry = one(
    "start_from_trigger_retry",
    lambda: StartsFromTrigger(task_id="t", what="raise", retries=1, retry_delay=timedelta(seconds=0)),
)

with DAG("defer_mapped", schedule=None) as defer_mapped:
    mapped = Defers.partial(task_id="t").expand(value=["a", "b", "c"])

    @task
    def gather(values: Any) -> list:
        return [value["event"] for value in values]

    gather(mapped.output)

WAITING = {"what": "file", "value": "{{ params.path }}", "marks": "{{ params.marks }}"}

defer_waits = one("defer_waits", lambda: Defers(task_id="t", **WAITING))

with DAG("defer_waits_a_while", schedule=None, dagrun_timeout=timedelta(seconds=2)):
    Defers(task_id="t", **WAITING)

with DAG("defer_hundred", schedule=None):
    Defers.partial(task_id="t", what="file", marks="{{ params.marks }}").expand(value=["{{ params.path }}"] * 100)

with DAG("defer_pools", schedule=None):
    # Each pool has one slot.
    for pool in ("without_deferred", "with_deferred"):
        Defers(task_id=f"{pool}_waits", pool=pool, priority_weight=2, **WAITING)
        Defers(task_id=f"{pool}_wants", pool=pool, what="event")

with DAG("defer_fail_fast", schedule=None, fail_fast=True):
    Defers(task_id="t", what="failed") >> EmptyOperator(task_id="after")
    BashOperator(task_id="beside", bash_command="sleep 15") >> EmptyOperator(task_id="later")

with DAG("defer_fail_fast_raise", schedule=None, fail_fast=True):
    Defers(task_id="t", what="raise") >> EmptyOperator(task_id="after")
    Defers(task_id="beside", what="forever") >> EmptyOperator(task_id="later")

with DAG("start_from_trigger_mapped", schedule=None) as start_from_trigger_mapped:
    StartsFromTrigger.partial(task_id="t").expand(value=[1, 2])

with DAG("defer_temporal", schedule=None) as defer_temporal:
    DateTimeSensorAsync(task_id="date_time", target_time="{{ dag_run.run_after + macros.timedelta(seconds=1) }}")
    # It defers only when its time has not come when it starts: with any longer time the machine's load would decide.
    TimeDeltaSensor(task_id="time_delta", delta=timedelta(0), deferrable=True)
    DateTimeSensorAsync(
        task_id="end_from_trigger",
        target_time="{{ dag_run.run_after + macros.timedelta(seconds=1) }}",
        end_from_trigger=True,
    )

with DAG("defer_file", schedule=None, params={"path": "/etc/passwd"}) as defer_file:
    FileSensor(task_id="there", filepath="{{ params.path }}", deferrable=True, fs_conn_id="fs_default", poke_interval=0.2)

with DAG("defer_file_later", schedule=None) as defer_file_later:
    PATH = "/tmp/leoflow-deferral-{{ run_id | replace(':', '') }}"
    BashOperator(task_id="make", bash_command=f"sleep 2; touch {PATH}; sleep 3; rm {PATH}")
    FileSensor(task_id="there", filepath=PATH, deferrable=True, fs_conn_id="fs_default", poke_interval=0.2)

with DAG("defer_child", schedule=None) as defer_child:
    EmptyOperator(task_id="done")

with DAG("defer_child_fails", schedule=None) as defer_child_fails:

    @task
    def fail() -> None:
        raise ValueError("as it should")

    fail()

with DAG("defer_trigger_dagrun", schedule=None) as defer_trigger_dagrun:
    TriggerDagRunOperator(
        task_id="good", trigger_dag_id="defer_child", wait_for_completion=True, deferrable=True, poke_interval=1
    )
    TriggerDagRunOperator(
        task_id="bad", trigger_dag_id="defer_child_fails", wait_for_completion=True, deferrable=True, poke_interval=1
    )

with DAG("defer_external", schedule=None) as defer_external:
    started = TriggerDagRunOperator(
        task_id="start", trigger_dag_id="defer_child", logical_date="{{ dag_run.run_after }}"
    )
    for name, what in {
        "run": {},
        "task": {"external_task_id": "done"},
        "tasks": {"external_task_ids": ["done"]},
    }.items():
        started >> ExternalTaskSensor(
            task_id=name,
            external_dag_id="defer_child",
            deferrable=True,
            poll_interval=0.5,
            **what,
        )

with DAG("async_task", schedule=None) as async_task:

    @task
    async def wait(ti: Any = None) -> str:
        import asyncio

        await asyncio.sleep(0.1)
        return f"waited {ti.try_number}"

    wait()
