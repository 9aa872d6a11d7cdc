"""Callbacks that no task's process can run: those of DAGs, of tasks that lost their process, and of missed deadlines.

Also what a deadline refers to, where that is code of the user's own.

Airflow runs the first two in its DAG processor, from the DAG's file, and the last in an executor. Here each is a child of
the zygote that has the run's version of that file.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any, NoReturn

import setproctitle

from leoflow_runtime import compat, log_channel, standard_streams
from leoflow_runtime.forkserver import AgentConnection, Command


def run(command: Command, agent: AgentConnection, bag: Any, directory: str, file: str) -> NoReturn:
    """Tell how long it may take, run the callback, tell what it raised, and end."""
    token: str = command["token"]
    setproctitle.setproctitle(f"leoflow callback: {file}")
    requests = agent.open("requests", token)
    log_channel.log_to(agent.open("logs", token))
    result_to = agent.open("result", token)
    stdout = agent.open("stdout", token)
    stderr = agent.open("stderr", token)

    def tell(what: dict[str, Any]) -> None:
        result_to.sendall(json.dumps(what).encode() + b"\n")

    def target() -> None:
        data: dict[str, Any] = json.loads(command["data"])
        tell({"seconds": compat.callback_seconds(of_file=data["kind"] != "path")})
        os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "client"
        compat.set_comms(compat.WarmCommsDecoder())
        standard_streams.log_standard_streams()
        log = _Listening(compat.logger())
        value: str | None = None
        try:
            if data["kind"] == "reference":
                value = compat.evaluate_deadline_reference(data["reference"], data["dag_id"], data["run_id"])
            elif data["kind"] == "path":
                compat.execute_callback(data["path"], data["kwargs"], directory, file, log)
            else:
                dags = bag or compat.load_dag_file(os.path.join(directory, file), directory, safe_mode=False)
                compat.execute_callback_request(dags, _request(data, file), log)
        except Exception:
            log.exception("The callback could not be called")
        sys.stdout.flush()
        sys.stderr.flush()
        tell({"errors": log.errors, "value": value})
        result_to.close()

    compat.run_supervised(requests, stdout, stderr, target)
    os._exit(124)


def _request(data: dict[str, Any], file: str) -> dict[str, Any]:
    """The request as Airflow's scheduler would have sent it."""
    common = {"filepath": file, "bundle_name": compat.BUNDLE_NAME, "bundle_version": None, "msg": data.get("msg")}
    if data["kind"] == "dag":
        return {
            **common,
            "type": "DagCallbackRequest",
            "dag_id": data["dag_run"]["dag_id"],
            "run_id": data["dag_run"]["run_id"],
            "is_failure_callback": data["state"] == "failed",
            "context_from_server": {"dag_run": _dag_run(data), "last_ti": data.get("ti")},
        }
    nothing: dict[str, list[Any]] = {"variables": [], "connections": [], "xcom_keys_to_clear": []}
    from_server = {"dag_run": _dag_run(data), "max_tries": data["max_tries"], **nothing}
    if data["kind"] == "email":
        return {
            **common,
            "type": "EmailRequest",
            "ti": data["ti"],
            "email_type": "retry" if data["state"] == "up_for_retry" else "failure",
            "context_from_server": from_server,
        }
    return {
        **common,
        "type": "TaskCallbackRequest",
        "ti": data["ti"],
        "task_callback_type": data["state"],
        # A task that its trigger ended is told nothing of its run.
        "context_from_server": None if data.get("by_trigger") else from_server,
    }


def _dag_run(data: dict[str, Any]) -> dict[str, Any]:
    run: dict[str, Any] = data["dag_run"]
    return {**run, "consumed_asset_events": run.get("consumed_asset_events") or []}


class _Listening:
    """A logger that notes what is logged as an error: in no other way does Airflow's code tell what a callback raised."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self.errors: list[str] = []

    def exception(self, event: str, *args: Any, **fields: Any) -> None:
        raised = sys.exc_info()[1]
        self.errors.append("".join(traceback.format_exception_only(raised)).strip() if raised else event)
        self._logger.exception(event, *args, **fields)

    def error(self, event: str, *args: Any, **fields: Any) -> None:
        self.errors.append(str(fields.get("error") or event))
        self._logger.error(event, *args, **fields)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logger, name)
