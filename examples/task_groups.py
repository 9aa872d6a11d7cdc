"""Task groups fold a big graph into parts that can be opened in the graph view."""

from __future__ import annotations

from airflow.sdk import dag, task, task_group


@dag(schedule=None, tags=["example", "groups"])
def task_groups():
    @task
    def ingest(source: str) -> int:
        return len(source)

    @task
    def check(rows: int) -> int:
        if rows == 0:
            raise ValueError("nothing was ingested")
        return rows

    @task_group
    def from_source(source: str) -> int:
        return check(ingest(source))

    @task_group
    def publish(total: int) -> None:
        @task
        def website(rows: int) -> None:
            print(f"website: {rows} rows")

        @task
        def newsletter(rows: int) -> None:
            print(f"newsletter: {rows} rows")

        website(total)
        newsletter(total)

    @task
    def add(numbers: list[int]) -> int:
        return sum(numbers)

    publish(add([from_source.override(group_id=name)(name) for name in ["shop", "returns", "warehouse"]]))


task_groups()
