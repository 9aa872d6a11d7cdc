"""Fan-in: a list of results of other tasks is an argument."""

from airflow.sdk import DAG, task

with DAG("fan_out_aggregate"):

    @task
    def shard(number: int) -> int:
        return sum(range(number * 100, number * 100 + 100))

    @task
    def aggregate(parts: list[int]) -> int:
        return sum(parts)

    aggregate([shard.override(task_id=f"shard_{number}")(number) for number in range(4)])
