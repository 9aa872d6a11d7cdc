"""A warm parent with one DAG file of one version imported; it forks a child per task."""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
from typing import Any, NoReturn

import setproctitle

from leoflow_runtime import compat, log_channel, shared_heap, standard_streams
from leoflow_runtime.forkserver import AgentConnection, Command, ForkServer
from leoflow_runtime.processes import adopt_orphans
from leoflow_runtime.project import overlay_of_version
from leoflow_runtime.workspace import bundle_of, put_on_path


class ImportComms:
    """Answers what a DAG file asks for while it is imported, and remembers that it asked."""

    def __init__(self, agent: AgentConnection, token: str) -> None:
        self.asked = False
        self._agent = agent
        self._token = token
        self._decoder: Any = None

    def __getattr__(self, name: str) -> Any:
        self.asked = True
        if self._decoder is None:
            self._decoder = compat.WarmCommsDecoder(socket=self._agent.open("import", self._token))
        return getattr(self._decoder, name)


class DagZygote(ForkServer):
    """Forks tasks of the DAGs of one file."""

    def __init__(self, command: Command, agent: AgentConnection) -> None:
        adopt_orphans()
        self.directory: str = command["directory"]
        self.file: str = command["file"]
        token: str = command["token"]
        setproctitle.setproctitle(f"leoflow python: {self.file}")
        super().__init__(agent.open("zygote", token), agent)
        path = os.path.join(self.directory, self.file)
        put_on_path(self.directory, path, command.get("workspace"))
        name, _ = bundle_of(path, self.directory) or (None, None)
        compat.use_bundle(self.directory, name)
        self.bundle = compat.open_bundle()
        overlay = overlay_of_version(self.directory)
        if overlay:
            overlay.apply()
        comms = ImportComms(agent, token)
        compat.set_comms(comms)
        threads = threading.active_count()
        try:
            self.bag: Any = compat.load_dag_file(
                os.path.join(self.directory, self.file), self.directory, safe_mode=False
            )
        except BaseException as error:
            print(f"importing {self.file}: {error!r}", file=sys.stderr)
            self.bag = None
        finally:
            compat.clear_comms()
        # A file that asked for Variables, failed, or started threads is imported again in each task, as Airflow does:
        # what it would see may change from task to task, and threads do not survive a fork.
        if self.bag is None or comms.asked or self.bag.import_errors or threading.active_count() > threads:
            self.bag = None
            compat.forget_modules_below(self.directory)
        else:
            for dag in self.bag.dags.values():
                _warm_templates(dag)
        compat.use_loaded_dags(self.bag, self.bundle)
        compat.drop_fork_caches()
        shared_heap.share(immortal=False)

    def handle(self, command: Command) -> None:
        token = command["token"]
        if command["op"] == "task":
            self.fork(token, lambda: _run_task(self.agent, token))
        elif command["op"] == "callback":
            self.fork(token, lambda: self._run_callback(command))
        else:
            raise ValueError(command["op"])

    def _run_callback(self, command: Command) -> NoReturn:
        _own_random_numbers()
        # Imported only where it runs.
        from leoflow_runtime import callbacks

        callbacks.run(command, self.agent, self.bag, self.directory, self.file)


def _own_random_numbers() -> None:
    """Python's own generator reseeds itself after a fork; numpy's would give every child the same numbers."""
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()


def _run_task(agent: AgentConnection, token: str) -> NoReturn:
    _own_random_numbers()
    requests = agent.open("requests", token)
    log_channel.log_to(agent.open("logs", token))
    stdout = agent.open("stdout", token)
    stderr = agent.open("stderr", token)

    def target() -> None:
        # Forked ahead of its task: nothing is logged or started before there is one.
        _wait_readable(requests)
        standard_streams.log_standard_streams()
        compat.run_task()

    compat.run_supervised(requests, stdout, stderr, target)
    os._exit(124)


def _wait_readable(connection: socket.socket) -> None:
    select.select([connection], [], [])
    if not connection.recv(1, socket.MSG_PEEK):
        os._exit(0)


def _warm_templates(dag: Any) -> None:
    try:
        dag.get_template_env()
        dag.get_template_env(force_sandboxed=True)
    except Exception:
        # The task that needs it reports it.
        pass
