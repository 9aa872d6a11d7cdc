"""Tasks in two languages: Python reads and prints, TypeScript (order_report.tasks.ts) works in between."""

from airflow.sdk import dag, task


@dag(schedule=None, params={"currency": "EUR"}, tags=["example"])
def order_report():
    @task
    def read_orders() -> list[dict]:
        return [
            {"id": 1, "region": "north", "amount": 20.5},
            {"id": 2, "region": "south", "amount": 11.0},
            {"id": 3, "region": "north", "amount": 4.25},
        ]

    @task.stub(queue="typescript", retries=1)
    def by_region(orders): ...

    @task.stub(queue="typescript")
    def describe(region): ...

    @task
    def report(lines: list[str]) -> str:
        return "\n".join(sorted(lines))

    report(describe.expand(region=by_region(read_orders())))


order_report()
