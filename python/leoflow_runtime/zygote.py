"""The base zygote of one environment (venv): Airflow imported and warm, forks parsers, DAG zygotes and small requests."""

from __future__ import annotations

import gc
import os
import socket
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Arguments: the agent's socket path, the fd of the control socket."""
    path, fd = sys.argv[-2], int(sys.argv[-1])
    gc.disable()

    from leoflow_runtime.processes import adopt_orphans, die_with_parent, live_on

    adopt_orphans()
    # Until the loop below hears the control socket's end.
    die_with_parent(os.getppid())
    from leoflow_runtime import dag_zygote, foreign, forkserver, log_channel, parser, requests, shared_heap, timetables, warm

    class BaseZygote(forkserver.ForkServer):
        def handle(self, command: forkserver.Command) -> None:
            token = command["token"]
            if command["op"] == "zygote":
                self.fork(token, lambda: dag_zygote.DagZygote(command, self.agent).serve(), zygote=True)
            elif command["op"] == "parse":
                self.fork(token, lambda: parser.run(command, self.agent))
            elif command["op"] == "exec":
                self.fork(token, lambda: foreign.run(command, self.agent))
            elif command["op"] == "request":
                self.fork(token, lambda: requests.run(command, self.agent))
            elif command["op"] == "timetable":
                self.fork(token, lambda: timetables.run(command, self.agent))
            elif command["op"] == "triggers":
                self.fork(token, lambda: _run_triggers(command, self.agent))
            else:
                raise ValueError(command["op"])

    def _run_triggers(command: forkserver.Command, agent: forkserver.AgentConnection) -> NoReturn:
        # Imported only where it runs: few DAGs defer.
        from leoflow_runtime import triggerer

        triggerer.run(command, agent)

    log_channel.open_channel()
    warm.warm()
    shared_heap.share(immortal=True)
    live_on()
    control = socket.socket(fileno=fd)
    os.set_inheritable(fd, False)
    BaseZygote(control, forkserver.AgentConnection(path)).serve()
