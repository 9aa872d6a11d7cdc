"""What the API's backfills run."""

import pendulum

from airflow.sdk import DAG, get_current_context, task

START = pendulum.datetime(2026, 1, 1, tz="UTC")


@task
def say():
    return str(get_current_context()["dag_run"].run_type.value)


@task
def fails_on_the_second():
    assert get_current_context()["logical_date"].day != 2, "not on the second"


with DAG("fails_on_the_second", schedule="@daily", start_date=START, catchup=False):
    fails_on_the_second() >> say()


@task
def waits(path=None):
    import os
    import time

    while not os.path.exists(get_current_context()["dag_run"].conf["path"]):
        time.sleep(0.05)


with DAG("waits", schedule="@daily", start_date=START, catchup=False):
    waits()
