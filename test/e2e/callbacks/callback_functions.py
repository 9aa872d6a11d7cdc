"""What the callbacks of callbacks.py do: each notes in the run's file that it was called, and with what."""

from __future__ import annotations

import os
from typing import Any

from airflow.sdk import BaseNotifier


def note(context: dict[str, Any], what: str, /, **more: Any) -> None:
    """One line; a run is told by its conf where to. A deadline's context has the run as the API describes it."""
    run = context.get("dag_run")
    conf = run["conf"] if isinstance(run, dict) else run.conf if run is not None else None
    # A DAG whose run ended without a task to tell of has no run in its context.
    path = conf["notes"] if conf else os.path.join(os.environ["CALLBACK_NOTES"], context["dag"].dag_id)
    with open(path, "a") as file:
        file.write(" ".join([what, *(f"{key}={value}" for key, value in more.items())]) + "\n")


def noting(name: str) -> Any:
    def callback(context: dict[str, Any]) -> None:
        ti = context.get("ti")
        exception = context.get("exception")
        note(
            context,
            name,
            task=ti and f"{ti.task_id}[{ti.map_index}]#{ti.try_number}",
            reason=context.get("reason"),
            exception=exception if isinstance(exception, str) else type(exception).__name__ if exception else None,
        )

    return callback


def raising(context: dict[str, Any]) -> None:
    raise ValueError("a callback raised this")


def printing(context: dict[str, Any]) -> None:
    print("a callback printed this")


class Notes(BaseNotifier):
    template_fields = ("text",)

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def notify(self, context: dict[str, Any]) -> None:
        note(context, "notifier", text=self.text)


def missed(context: dict[str, Any], *, name: str, more: Any = None) -> None:
    keys = sorted(set(context["dag_run"]) | set(context["deadline"]))
    note(context, "missed", name=name, more=repr(more), run=context["dag_run"]["dag_id"], keys=",".join(keys))


async def missed_async(context: dict[str, Any], *, name: str, more: Any = None) -> str:
    missed(context, name=name, more=more)
    return f"the result of {name}"


async def raises_async(**kwargs: Any) -> None:
    raise ValueError("an async callback raised this")
