"""A child that runs user code for the control plane, answers in one JSON text on a connection of its own, and ends."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from typing import Any, NoReturn

import setproctitle
from pydantic import TypeAdapter

from airflow.dag_processing.processor import ToDagProcessor
from leoflow_runtime import compat
from leoflow_runtime.forkserver import AgentConnection, Command

_TO_DAG_PROCESSOR: TypeAdapter[Any] = TypeAdapter(ToDagProcessor)


def run(command: Command, agent: AgentConnection, title: str, work: Callable[[Command], Any]) -> NoReturn:
    token: str = command["token"]
    setproctitle.setproctitle(title)
    comms = agent.open("requests", token)
    result_to = agent.open("result", token)
    stdout = agent.open("stdout", token)
    stderr = agent.open("stderr", token)

    def target() -> None:
        # Marks user code: Variables and Connections come from the supervisor, never from a database.
        os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "client"
        compat.set_comms(compat.CommsDecoder(body_decoder=_TO_DAG_PROCESSOR))
        result_to.sendall(json.dumps(work(command)).encode())
        result_to.close()

    compat.run_supervised(comms, stdout, stderr, target)
    os._exit(124)


def limit_memory(megabytes: int) -> Any:
    """Lets this process allocate so much more than it has; returns what lifts the limit for our own work."""
    old = resource.getrlimit(resource.RLIMIT_DATA)
    try:
        with open("/proc/self/status") as file:
            held = next(int(line.split()[1]) for line in file if line.startswith("VmData:")) * 1024
    except (OSError, StopIteration):
        return lambda: None
    resource.setrlimit(resource.RLIMIT_DATA, (held + megabytes * 1024 * 1024, old[1]))
    return lambda: resource.setrlimit(resource.RLIMIT_DATA, old)
