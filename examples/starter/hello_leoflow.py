"""Your first DAG: three steps in plain Python. Change something and save: the new version is live at once."""

from airflow.sdk import dag, task


@dag(
    schedule=None,
    catchup=False,
    is_paused_upon_creation=False,
    tags=["starter"],
    doc_md=__doc__,
)
def hello_leoflow():
    @task
    def collect() -> list[str]:
        return ["Ada", "Grace", "Margaret"]

    @task
    def greet(names: list[str]) -> list[str]:
        return [f"Hello, {name}!" for name in names]

    @task
    def report(greetings: list[str]) -> int:
        for greeting in greetings:
            print(greeting)
        return len(greetings)

    report(greet(collect()))


hello_leoflow()
