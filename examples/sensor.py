"""A sensor that waits for a file without holding a worker, and the task that makes the file."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from tempfile import gettempdir

from airflow.sdk import PokeReturnValue, dag, task


def landing(run_id: str) -> Path:
    safe = "".join(character if character.isalnum() else "-" for character in run_id)
    return Path(gettempdir()) / f"leoflow-landing-{safe}.txt"


@dag(schedule=None, tags=["example", "sensor"])
def sensor():
    @task
    def deliver(run_id: str | None = None) -> None:
        landing(run_id).write_text("the data has landed\n")

    @task.sensor(mode="reschedule", poke_interval=1, timeout=timedelta(minutes=5).total_seconds())
    def wait_for_file(run_id: str | None = None) -> PokeReturnValue:
        path = landing(run_id)
        return PokeReturnValue(is_done=path.exists(), xcom_value=str(path))

    @task
    def read(path: str) -> str:
        text = Path(path).read_text()
        Path(path).unlink()
        return text

    deliver()
    read(wait_for_file())


sensor()
