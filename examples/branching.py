"""A branch decides which way to go; the ways meet again."""

from __future__ import annotations

import random

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import TriggerRule, dag, task


@dag(schedule=None, tags=["example", "branching"], params={"way": "random"})
def branching():
    @task.branch
    def choose(params: dict) -> str:
        way = params["way"]
        return random.choice(["left", "right"]) if way == "random" else way

    @task
    def left() -> str:
        return "went left"

    @task
    def right() -> str:
        return "went right"

    @task.short_circuit
    def is_there_more(params: dict) -> bool:
        return params["way"] != "nowhere"

    together = EmptyOperator(task_id="together", trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS)
    choose() >> [left(), right()] >> together >> is_there_more() >> EmptyOperator(task_id="end")


branching()
