"""The project's folder is where its modules are found; dag_source lies below it."""

from airflow.sdk import dag, task
from pricing import gross


@dag("taskflow_sales")
def sales():
    @task(multiple_outputs=True)
    def extract() -> dict[str, float]:
        return {"tea": 10.0, "wine": 20.0}

    @task
    def transform(tea: float, wine: float) -> float:
        return gross("tea", tea) + gross("wine", wine)

    @task
    def load(total: float) -> str:
        return f"{total:.2f} in all"

    parts = extract()
    load(transform(parts["tea"], parts["wine"]))


sales()
