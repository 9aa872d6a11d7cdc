"""A task that fails twice and then succeeds; a cleanup that runs whatever happened."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import TriggerRule, dag, task


@dag(schedule=None, tags=["example", "retries"])
def retries():
    @task(retries=3, retry_delay=timedelta(seconds=1), retry_exponential_backoff=True)
    def flaky(ti=None) -> str:
        print(f"try {ti.try_number} of {ti.max_tries + 1}")
        if ti.try_number < 3:
            raise ConnectionError("the service is not there yet")
        return "it worked"

    @task(trigger_rule=TriggerRule.ALL_DONE)
    def clean_up() -> None:
        print("cleaned up")

    flaky() >> clean_up()


retries()
