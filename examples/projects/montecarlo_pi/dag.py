"""Dynamic task mapping: one task instance per seed."""

import random

from airflow.sdk import DAG, task

DARTS = 20_000

with DAG("montecarlo_pi"):

    @task
    def seeds() -> list[int]:
        return [3, 5, 7]

    @task
    def throw(seed: int) -> int:
        dice = random.Random(seed)
        return sum(dice.random() ** 2 + dice.random() ** 2 <= 1 for _ in range(DARTS))

    @task
    def estimate(hits: list[int]) -> float:
        return round(4 * sum(hits) / (DARTS * len(hits)), 1)

    estimate(throw.expand(seed=seeds()))
