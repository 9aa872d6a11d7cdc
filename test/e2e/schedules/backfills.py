"""What the API's backfills run."""

import pendulum

from airflow.sdk import DAG, Param, get_current_context, task

START = pendulum.datetime(2026, 1, 1, tz="UTC")


@task
def say():
    context = get_current_context()
    run = context["dag_run"]
    return {
        "type": run.run_type.value,
        "conf": run.conf,
        "who": context["params"]["who"],
        "interval": f"{run.data_interval_start:%m-%d} to {run.data_interval_end:%m-%d}",
    }


with DAG(
    "backfilled", schedule="@daily", start_date=START, catchup=False, max_active_runs=1, params={"who": Param("me", type="string")}
):
    say()


@task
def fails_on_the_second():
    assert get_current_context()["logical_date"].day != 2, "not on the second"


with DAG("fails_on_the_second", schedule="@daily", start_date=START, catchup=False, params={"who": "me"}):
    fails_on_the_second() >> say()


@task
def waits(path=None):
    import os
    import time

    while not os.path.exists(get_current_context()["dag_run"].conf["path"]):
        time.sleep(0.05)


with DAG("waits", schedule="@daily", start_date=START, catchup=False):
    waits()
