"""Set-up, retries (leoflow.yaml says how many) and a clean-up whatever happens."""

from airflow.sdk import DAG, task

with DAG("lifecycle"):

    @task
    def prepare():
        print("prepared")

    @task
    def flaky(ti=None) -> int:
        if ti.try_number < 3:
            raise RuntimeError(f"try {ti.try_number} fails")
        return ti.try_number

    @task(trigger_rule="all_done")
    def clean_up(tries: int):
        print(f"it took {tries} tries")

    prepare() >> (tries := flaky())
    clean_up(tries)
