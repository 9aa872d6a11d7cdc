"""The work that every server is measured with: small Python tasks of a few milliseconds."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import dag, task

SETTINGS = {
    "schedule": None,
    "start_date": datetime(2026, 1, 1, tzinfo=timezone.utc),
    "catchup": False,
    "max_active_tasks": 64,
}


def fibonacci(n: int) -> int:
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


@task
def small(n: int = 10) -> int:
    return fibonacci(n)


@dag(**SETTINGS)
def leo_single():
    small()


@dag(**SETTINGS)
def leo_chain40():
    before = None
    for number in range(40):
        step = small.override(task_id=f"t{number}")(10)
        if before is not None:
            before >> step
        before = step


@dag(**SETTINGS)
def leo_parallel100():
    for number in range(100):
        small.override(task_id=f"t{number}")(10)


@dag(**SETTINGS)
def leo_mapped100():
    @task
    def generate() -> list[int]:
        return [10] * 100

    @task
    def reduce(values: list[int]) -> int:
        return sum(values)

    reduce(small.expand(n=generate()))


leo_single()
leo_chain40()
leo_parallel100()
leo_mapped100()
