"""What leoflow.yaml changes of a DAG, the same wherever its file is imported: parse, DAG zygote, task."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from typing import Any

from leoflow_runtime import compat

_SECONDS = {"retry_delay_seconds": "retry_delay", "execution_timeout_seconds": "execution_timeout"}


class Overlay:
    """`ProjectOverlay` of src/domain/parse-result.ts."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data
        self._dag: dict[str, Any] = data["dag"]
        self._defaults = _arguments(data["defaults"])
        self._tasks = {task_id: _arguments(said) for task_id, said in data["tasks"].items()}

    def apply(self) -> None:
        """From now on, in this process: to DAGs as they are made, to their tasks before anybody sees them."""
        compat.on_dag_made(self._change_dag)
        compat.on_dag_loaded(self._change_tasks)
        compat.on_task_known(self.set_environment)

    def problem(self, path: str, dags: dict[str, Any]) -> str | None:
        """What of it does not fit the DAGs that the file defines."""
        wanted = self._data["dag_id"]
        name = os.path.basename(path)
        known = " ".join(sorted(dags))
        if wanted is not None and wanted not in dags:
            return self._at("dag_id", f"DAG '{wanted}' not found in {name}; found [{known}]")
        if wanted is None and len(dags) > 1:
            return f"{self._data['file']}: multiple DAGs in {name} [{known}]; set dag_id in leoflow.yaml"
        for dag in dags.values():
            if self._is_meant(dag.dag_id):
                for task_id in self._tasks:
                    if task_id not in dag.task_dict:
                        text = f'leoflow.yaml tasks: unknown task_id "{task_id}"; the DAG defines [{" ".join(sorted(dag.task_dict))}]'
                        return self._at(f"tasks.{task_id}", text)
        return None

    def _at(self, key: str, text: str) -> str:
        return f"{self._data['file']}:{self._data['places'].get(key, '1:1')}: {text}"

    def _is_meant(self, dag_id: str) -> bool:
        return self._data["dag_id"] in (None, dag_id)

    def _change_dag(self, dag_id: str, arguments: dict[str, Any]) -> None:
        if not self._is_meant(dag_id):
            return
        said = dict(self._dag)
        owner, tags, zone = (said.pop(name, None) for name in ("owner", "tags", "schedule_timezone"))
        arguments.update(said)
        if tags:
            arguments["tags"] = {*(arguments.get("tags") or ()), *tags}
        if zone:
            expression = arguments.get("schedule")
            if not isinstance(expression, str) or expression in ("@once", "@continuous"):
                raise ValueError(self._at("schedule_timezone", "schedule_timezone needs a cron expression as schedule"))
            arguments["schedule"] = compat.cron_timetable(expression, zone)
        default_args = {**self._defaults, **(arguments.get("default_args") or {})}
        if owner:
            default_args["owner"] = owner
        if default_args:
            arguments["default_args"] = default_args

    def _change_tasks(self, dag: Any) -> None:
        if not self._is_meant(dag.dag_id):
            return
        for task_id, arguments in self._tasks.items():
            task = dag.task_dict.get(task_id)
            # A mapped task hands its partial arguments on to each of its instances.
            partial = getattr(task, "partial_kwargs", None)
            for name, value in arguments.items():
                if partial is not None:
                    partial[name] = value
                elif task is not None:
                    setattr(task, name, value)

    def set_environment(self, dag_id: str, task_id: str) -> None:
        """What the task's `env` says, in this process."""
        if self._is_meant(dag_id):
            os.environ.update(self._data["tasks"].get(task_id, {}).get("env", {}))


def overlay_of_version(directory: str) -> Overlay | None:
    """The one that the archive of a version was made with."""
    try:
        with open(os.path.join(directory, ".leoflow-version.json"), encoding="utf-8") as file:
            data = json.load(file).get("overlay")
    except FileNotFoundError:
        return None
    return Overlay(data) if data else None


def _arguments(said: dict[str, Any]) -> dict[str, Any]:
    """What leoflow.yaml says, as arguments of an operator."""
    arguments: dict[str, Any] = {"retries": said["retries"]} if "retries" in said else {}
    for name, argument in _SECONDS.items():
        if name in said:
            arguments[argument] = timedelta(seconds=said[name])
    return arguments
