"""Params make a form in the trigger dialog; their schema is checked before the run starts."""

from __future__ import annotations

from airflow.sdk import Param, dag, task


@dag(
    schedule=None,
    tags=["example", "params"],
    params={
        "names": Param(["Ada", "Grace"], type="array", description="One greeting for each name."),
        "language": Param("english", enum=["english", "german", "french"], description="Language of the greeting."),
        "exclamations": Param(1, type="integer", minimum=0, maximum=5),
        "shout": Param(False, type="boolean", title="Shout?"),
    },
)
def params_form():
    @task
    def greet(params: dict) -> list[str]:
        word = {"english": "Hello", "german": "Hallo", "french": "Bonjour"}[params["language"]]
        greetings = [f"{word} {name}{'!' * params['exclamations']}" for name in params["names"]]
        return [greeting.upper() if params["shout"] else greeting for greeting in greetings]

    @task
    def show(greetings: list[str]) -> None:
        for greeting in greetings:
            print(greeting)

    show(greet())


params_form()
