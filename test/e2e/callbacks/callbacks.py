"""DAGs whose callbacks note that they were called. They also run on Airflow itself: see record.ts."""

from __future__ import annotations

import datetime
import os
import time
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, AsyncCallback, BaseOperator, DeadlineAlert, DeadlineReference, SyncCallback, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from callback_functions import Notes, missed, missed_async, noting, printing, raises_async, raising
from deferral_triggers import DoesTrigger

NO_DELAY = timedelta(0)
DAG_CALLBACKS = {"on_success_callback": noting("dag_success"), "on_failure_callback": noting("dag_failure")}
TASK_CALLBACKS = {f"on_{what}_callback": noting(what) for what in ("execute", "success", "failure", "retry", "skipped")}


def does(what: str, **kwargs: Any) -> Any:
    def do(ti: Any = None) -> None:
        if what == "fail" or (what == "retry" and ti.try_number == 1):
            raise ValueError("failed")
        if what == "fail_for_good":
            raise AirflowFailException("failed for good")
        if what == "skip":
            raise AirflowSkipException("skipped")
        if what == "die" or (what == "die_once" and ti.try_number == 1):
            os.kill(os.getpid(), 9)
        if what == "time_out":
            time.sleep(60)

    return PythonOperator(**{"task_id": what, "python_callable": do, **kwargs})


with DAG("cb_dag_success", schedule=None, **DAG_CALLBACKS):
    EmptyOperator(task_id="first") >> does("ok")

with DAG("cb_dag_failure", schedule=None, **DAG_CALLBACKS):
    does("fail") >> EmptyOperator(task_id="after")
    does("ok")

with DAG("cb_dag_list", schedule=None, on_success_callback=[noting("one"), raising, printing, noting("two")]):
    does("ok")

with DAG("cb_dag_notifiers", schedule=None, on_success_callback=[Notes("{{ dag.dag_id }} {{ ti.task_id }}"), Notes("plain")]):
    does("ok")

with DAG("cb_dag_timed_out", schedule=None, dagrun_timeout=timedelta(seconds=12), **DAG_CALLBACKS):
    BashOperator(task_id="sleeps", bash_command="sleep 300")

with DAG("cb_dag_no_tasks", schedule=None, **DAG_CALLBACKS):
    pass

with DAG("cb_tasks", schedule=None, default_args=TASK_CALLBACKS):
    for what in ("ok", "fail", "fail_for_good", "skip"):
        does(what)
    does("retry", retries=1, retry_delay=NO_DELAY)
    does("fail", task_id="fails_twice", retries=1, retry_delay=NO_DELAY)
    does("time_out", execution_timeout=timedelta(seconds=1))
    EmptyOperator(task_id="empty")
    does("fail", task_id="upstream", on_failure_callback=None) >> does("ok", task_id="upstream_failed")

with DAG("cb_tasks_list", schedule=None):
    does("ok", on_success_callback=[noting("one"), raising, noting("two"), Notes("{{ ti.task_id }} of {{ run_id is defined }}")])
    does("fail", on_failure_callback=[raising, noting("three")])

with DAG("cb_mapped", schedule=None):

    @task(on_failure_callback=noting("failure"), on_success_callback=noting("success"))
    def checks(n: int) -> None:
        if n == 2:
            raise ValueError(n)

    checks.expand(n=[1, 2, 3])

with DAG("cb_lost", schedule=None, default_args=TASK_CALLBACKS, **DAG_CALLBACKS):
    does("die")
    does("die_once", retries=1, retry_delay=NO_DELAY)
    does("die", task_id="dies_twice", retries=1, retry_delay=NO_DELAY)


class EndsFromTrigger(BaseOperator):
    def __init__(self, *, what: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.what = what

    def execute(self, context: Any) -> None:
        self.defer(trigger=DoesTrigger(self.what), method_name="never")


with DAG("cb_trigger_ends", schedule=None):
    for what in ("success", "failed", "skipped"):
        # What Airflow tells such a callback does not include the run, so where to note it.
        EndsFromTrigger(task_id=what, what=what, on_success_callback=printing, on_failure_callback=printing)

SECOND = timedelta(seconds=1)
with DAG(
    "cb_deadlines",
    schedule=None,
    deadline=[
        DeadlineAlert(
            name="sync",
            reference=DeadlineReference.DAGRUN_QUEUED_AT,
            interval=SECOND,
            callback=SyncCallback(missed, {"name": "sync", "more": [1, 2.5, None]}),
        ),
        DeadlineAlert(
            name="async",
            reference=DeadlineReference.DAGRUN_QUEUED_AT,
            interval=SECOND,
            callback=AsyncCallback(missed_async, {"name": "async", "more": {"a": 1.5}}),
        ),
        DeadlineAlert(
            name="long ago",
            reference=DeadlineReference.FIXED_DATETIME(datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)),
            interval=SECOND,
            callback=SyncCallback("callback_functions.missed", {"name": "long ago"}),
        ),
        DeadlineAlert(
            name="not missed",
            reference=DeadlineReference.DAGRUN_QUEUED_AT,
            interval=timedelta(hours=1),
            callback=SyncCallback(missed, {"name": "not missed"}),
        ),
        DeadlineAlert(
            name="too few runs",
            reference=DeadlineReference.AVERAGE_RUNTIME(max_runs=50, min_runs=50),
            interval=timedelta(0),
            callback=SyncCallback(missed, {"name": "too few runs"}),
        ),
        DeadlineAlert(
            name="no logical date",
            reference=DeadlineReference.DAGRUN_LOGICAL_DATE,
            interval=timedelta(0),
            callback=SyncCallback(missed, {"name": "no logical date"}),
        ),
        DeadlineAlert(
            name="raises",
            reference=DeadlineReference.DAGRUN_QUEUED_AT,
            interval=timedelta(0),
            callback=AsyncCallback(raises_async),
        ),
    ],
):
    BashOperator(task_id="sleeps", bash_command="sleep 4")
