"""A DAG with something to see on every page of the UI."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import (
    DAG,
    Asset,
    DeadlineAlert,
    DeadlineReference,
    Label,
    Param,
    SyncCallback,
    Variable,
    chain,
    dag,
    setup,
    task,
    task_group,
    teardown,
)

NUMBERS = Asset("tour_numbers")

with DAG("tour_follows", schedule=NUMBERS & Asset("tour_other"), is_paused_upon_creation=False):
    BashOperator(task_id="follow", bash_command="true", inlets=[NUMBERS])


@dag(
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["browser", "tour"],
    description="Something for every page",
    doc_md="# Tour\n\nA *documented* DAG.",
    default_args={"owner": "leo"},
    params={
        "name": Param("world", type="string", title="Name", description="Who is greeted.", minLength=1),
        "count": Param(3, type="integer", minimum=1, maximum=9),
        "color": Param("red", enum=["red", "green"], description="One of two."),
        "fails": Param(False, type="boolean", description="Let one task fail."),
        "extra": {"a": 1.5},
    },
)
def tour():
    @task(outlets=[NUMBERS])
    def numbers(params: dict) -> list[int]:
        """Counts."""
        print(f"counting to {params['count']}")
        return list(range(params["count"]))

    @task(map_index_template="{{ number }}")
    def double(number: int) -> int:
        return number * 2

    @task.branch
    def choose(params: dict) -> str:
        return "report.bad" if params["fails"] else "report.good"

    greet = BashOperator(task_id="greet", bash_command="echo 'hello {{ params.name }}'")

    @task_group(tooltip="What became of it")
    def report():
        @task
        def good() -> None:
            print("all is well")

        @task
        def bad() -> None:
            raise ValueError("this was asked for")

        return good(), bad()

    @setup
    def make() -> None:
        print("made")

    @teardown
    def remove() -> None:
        print("removed")

    doubled = double.expand(number=numbers())
    way = choose()
    chain(make(), greet, remove())
    greet >> Label("then") >> way
    doubled >> way >> report()


tour()


@dag(schedule=None, tags=["tour"], is_paused_upon_creation=False)
def tour_asks():
    from airflow.providers.standard.operators.hitl import ApprovalOperator

    ApprovalOperator(task_id="approve", subject="Shall it go on?", body="A *question*.")


tour_asks()


def late(**context) -> None:
    print("too late")


@dag(
    schedule=None,
    tags=["tour"],
    is_paused_upon_creation=False,
    deadline=DeadlineAlert(
        name="at once",
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(milliseconds=1),
        callback=SyncCallback(late),
    ),
)
def tour_steps():
    """Every task waits until the variable `tour_step` has come as far."""

    @task
    def wait_for(step: int) -> None:
        print(f"waiting for step {step}")
        while int(Variable.get("tour_step", default="0")) < step:
            time.sleep(0.1)
        print(f"step {step} is there")

    chain(*(wait_for.override(task_id=f"step_{step}")(step) for step in range(1, 6)))


tour_steps()
