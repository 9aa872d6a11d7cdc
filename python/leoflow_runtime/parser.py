"""Parses one DAG file in a child of the base zygote and describes what came of it as JSON."""

from __future__ import annotations

import io
import json
import os
import sys
import time
import traceback
import zipfile
from typing import Any, NoReturn

from airflow.sdk.configuration import conf
from airflow.utils.dag_version_inflation_checker import check_dag_file_stability
from leoflow_runtime import answering, compat
from leoflow_runtime.forkserver import AgentConnection, Command
from leoflow_runtime.project import Overlay
from leoflow_runtime.reads import ReadRecorder, file_of, lazily_imported, source_of, template_names, workspace_modules
from leoflow_runtime.workspace import put_on_path


def run(command: Command, agent: AgentConnection) -> NoReturn:
    answering.run(command, agent, f"leoflow parse: {command['path']}", parse)


def parse(command: Command) -> dict[str, Any]:
    path: str = command["path"]
    root: str = command["workspace"]
    started = time.monotonic()
    limit = answering.limit_memory(command["memoryMb"])
    put_on_path(root, path)
    known_modules = set(sys.modules)
    recorder = ReadRecorder(root)
    import_errors: list[dict[str, str]] = []
    warnings: list[dict[str, Any]] = []
    dags: list[dict[str, Any]] = []
    templates: set[str] = set()
    overlay = Overlay(command["overlay"]) if command.get("overlay") else None
    if overlay:
        overlay.apply()
    stability = check_dag_file_stability(path)
    if errors := stability.get_error_format_dict(path, root):
        import_errors += [{"filename": _relative(name, root), "stacktrace": text} for name, text in errors.items()]
    elif damage := _damage(path, root):
        import_errors.append({"filename": _relative(path, root), "stacktrace": damage})
    else:
        with recorder:
            bag = compat.load_dag_file(path, root)
        for name, text in bag.import_errors.items():
            if "MemoryError" in text:
                text = f"Parsing needed more than {command['memoryMb']} MB of memory, the limit.\n\n{text}"
            import_errors.append({"filename": _relative(name, root), "stacktrace": text})
        if overlay and not bag.import_errors and (text := overlay.problem(path, bag.dags)):
            import_errors.append({"filename": _relative(path, root), "stacktrace": text})
            bag.dags.clear()
        for dag in sorted(bag.dags.values(), key=lambda dag: dag.dag_id):
            try:
                dags.append(_describe(dag))
                with recorder:
                    templates |= template_names(dag, root, recorder)
            except Exception:
                depth = conf.getint("core", "dagbag_import_error_traceback_depth")
                filename = _relative(dag.relative_fileloc or dag.fileloc, root)
                import_errors.append({"filename": filename, "stacktrace": traceback.format_exc(limit=-depth)})
        for warning in stability.get_formatted_warnings(bag.dag_ids) or []:
            warnings.append(
                {
                    "dagId": warning.get("dag_id"),
                    "warningType": warning.get("warning_type", ""),
                    "message": warning.get("message", ""),
                }
            )
        for texts in bag.captured_warnings.values():
            for text in texts:
                # "file:line: category: message"
                parts = text.split(": ", 2)
                warnings.append(
                    {"dagId": None, "warningType": parts[1] if len(parts) == 3 else "", "message": text}
                )
    limit()
    modules = workspace_modules(root, known_modules) | {path}
    modules |= lazily_imported(modules, root)
    files = {file_of(module) for module in modules}
    below = lambda names: sorted(os.path.relpath(name, root) for name in names)  # noqa: E731
    return {
        "dags": dags,
        "importErrors": import_errors,
        "warnings": warnings,
        "files": below(files),
        "templates": below(templates - files),
        "reads": below(recorder.files - files - templates)
        + [f"{name}/" if name != "." else "./" for name in below(recorder.folders)],
        "durationSeconds": time.monotonic() - started,
        "failure": None,
    }


def _damage(path: str, root: str) -> str | None:
    """Why an archive of DAG files cannot be read. Airflow would not see one that was cut short, and fail as a whole for another."""
    if not path.endswith(".zip"):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith((".py", ".pyc")):
                    archive.read(name)
    except Exception as error:
        return f"{_relative(path, root)} cannot be read as a zip archive: {error}"
    return None


def _relative(name: str, root: str) -> str:
    return os.path.relpath(name, root) if os.path.isabs(name) else name


def _describe(dag: Any) -> dict[str, Any]:
    data, lazy = compat.serialize(dag)
    timetable = lazy.timetable
    expression = timetable.asset_condition.as_expression() if timetable.asset_condition else None
    fields = [task["__var"] for task in data["dag"]["tasks"]]
    owners = {{**task.get("partial_kwargs", {}), **task}.get("owner") for task in fields} - {None, ""}
    source = io.TextIOWrapper(io.BytesIO(source_of(dag.fileloc)), encoding="utf-8", errors="replace").read()
    limits = {
        "maxActiveTasks": (lazy.max_active_tasks, "max_active_tasks_per_dag"),
        "maxActiveRuns": (lazy.max_active_runs, "max_active_runs_per_dag"),
        "maxConsecutiveFailedDagRuns": (
            lazy.max_consecutive_failed_dag_runs,
            "max_consecutive_failed_dag_runs_per_dag",
        ),
    }
    return {
        "dagId": dag.dag_id,
        "serialized": json.dumps(data),
        "dagHash": compat.dag_hash(data),
        "fileloc": dag.fileloc,
        "displayName": lazy.dag_display_name,
        "description": lazy.description,
        "owners": ", ".join(sorted(owners)) or conf.get("operators", "default_owner"),
        "tags": sorted(lazy.tags or ()),
        "timetableType": timetable.type_name,
        "timetableSummary": timetable.summary,
        "timetableDescription": timetable.description,
        "timetablePeriodic": timetable.periodic,
        "timetablePartitioned": timetable.partitioned,
        "assetExpression": None if expression is None else json.dumps(expression),
        **{
            name: conf.getint("core", option) if value is None else value
            for name, (value, option) in limits.items()
        },
        "hasTaskConcurrencyLimits": lazy.has_task_concurrency_limits,
        "failFast": bool(lazy.fail_fast),
        "isPausedUponCreation": lazy.is_paused_upon_creation,
        "allowedRunTypes": sorted(lazy.allowed_run_types) if lazy.allowed_run_types else None,
        "sourceCode": source,
    }


def main() -> NoReturn:
    """`python -m leoflow_runtime.parser FILE WORKSPACE`: prints what a parse finds, for looking into a problem."""
    print(json.dumps(parse({"path": sys.argv[1], "workspace": sys.argv[2], "memoryMb": 4096}), indent=2))
    sys.exit(0)


if __name__ == "__main__":
    main()
