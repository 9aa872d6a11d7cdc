"""A task of another language: the forked child becomes the program that its coordinator names."""

from __future__ import annotations

import os
import signal
from typing import NoReturn

from airflow.sdk.configuration import conf
from leoflow_runtime import staging
from leoflow_runtime.forkserver import AgentConnection, Command
from leoflow_runtime.project import overlay_of_version


def run(command: Command, agent: AgentConnection) -> NoReturn:
    for descriptor, kind in ((1, "stdout"), (2, "stderr")):
        stream = agent.open(kind, command["token"])
        os.dup2(stream.fileno(), descriptor)
    if overlay := overlay_of_version(command["directory"]):
        overlay.set_environment(command["dagId"], command["taskId"])
    staging.enter(command["dagId"], command["runId"])
    # Airflow's coordinators do the same: other languages cannot read its configuration.
    os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = conf.get("logging", "logging_level", fallback="INFO")
    os.environ["AIRFLOW__LOGGING__NAMESPACE_LEVELS"] = conf.get("logging", "namespace_levels", fallback="")
    # Python ignores them, and what is ignored stays so in the new program.
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)
    program, *_ = arguments = command["arguments"]
    os.execvp(program, arguments)
