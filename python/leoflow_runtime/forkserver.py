"""The loop of a zygote: reads commands, forks, reports exits; ends all it started when the agent is gone.

1. One thread, no locks: a fork copies nothing half done.
2. The control socket's EOF means the agent is gone. Everything below ends at once.
3. A child is reported as exited only after it was reaped; until then its pid is its own and may be signalled.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from leoflow_runtime.processes import be_first_out_of_memory, die_with_parent, kill_group, kill_tree, own_group

Command = dict[str, Any]


class AgentConnection:
    """How children reach the agent: a UNIX socket that tells connections apart by their first line."""

    def __init__(self, path: str) -> None:
        self.path = path

    def open(self, kind: str, token: str) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(self.path)
        connection.sendall(f"{kind} {token}\n".encode())
        return connection


class ForkServer:
    """Base of the zygotes. Subclasses say what a command's child does."""

    def __init__(self, control: socket.socket, agent: AgentConnection) -> None:
        self.control = control
        self.agent = agent
        self.children: dict[int, str] = {}
        # Zygotes among the children end by themselves (their own control socket ends too) and take their tasks along.
        self.zygotes: set[int] = set()
        self._buffer = b""
        self._wake_read, self._wake_write = os.pipe()
        for end in (self._wake_read, self._wake_write):
            os.set_blocking(end, False)

    def serve(self) -> NoReturn:
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # The agent decides when tasks end; it tells us by the socket.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self.report({"event": "ready", "pid": os.getpid()})
        while True:
            readable, _, _ = select.select([self.control, self._wake_read], [], [])
            if self._wake_read in readable:
                os.read(self._wake_read, 4096)
            self._reap()
            if self.control in readable and not self._read_commands():
                self.end()

    def _read_commands(self) -> bool:
        try:
            data = self.control.recv(65536)
        except OSError:
            data = b""
        if not data:
            return False
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._obey(json.loads(line))
        return True

    def _obey(self, command: Command) -> None:
        if command["op"] == "kill":
            if command["pid"] in self.children:
                kill_tree([command["pid"]])
        elif command["op"] == "end":
            self.end()
        else:
            self.handle(command)

    def handle(self, command: Command) -> None:
        raise NotImplementedError

    def fork(self, token: str, run: Callable[[], object], *, zygote: bool = False) -> None:
        """Fork a child that runs `run` and then ends; the agent hears of its pid and, later, of its exit."""
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            pid = os.fork()
        except OSError as error:
            # No memory or no process left: the others go on.
            print(f"cannot fork: {error}", file=sys.stderr, flush=True)
            self.report({"event": "exit", "token": token, "pid": 0, "code": os.EX_OSERR})
            return
        if pid == 0:
            _child(self, run, parent, zygote)
        try:
            os.setpgid(pid, pid)
        except OSError:
            pass
        self.children[pid] = token
        if zygote:
            self.zygotes.add(pid)
        self.report({"event": "forked", "token": token, "pid": pid})

    def report(self, event: dict[str, Any]) -> None:
        try:
            self.control.sendall(json.dumps(event).encode() + b"\n")
        except OSError:
            self.end()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.zygotes.discard(pid)
            token = self.children.pop(pid, None)
            if token is not None:
                code = os.waitstatus_to_exitcode(status)
                if code != 0:
                    kill_group(pid)
                self.report({"event": "exit", "token": token, "pid": pid, "code": code})

    def end(self) -> NoReturn:
        """End everything below, then this process."""
        if self.zygotes:
            kill_tree([pid for pid in self.children if pid not in self.zygotes])
            # They see the end of their own sockets now; a grace for them to take their tasks along.
            deadline = time.monotonic() + 0.8
            while self.zygotes and time.monotonic() < deadline:
                try:
                    pid, _ = os.waitpid(-1, os.WNOHANG)
                except ChildProcessError:
                    break
                if pid == 0:
                    time.sleep(0.005)
                self.zygotes.discard(pid)
        kill_tree([pid for pid in _direct_children(self) if pid != os.getpid()])
        os._exit(0)


def _direct_children(server: ForkServer) -> list[int]:
    """Known children and the orphans we adopted."""
    found = set(server.children)
    try:
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/children") as file:
                found.update(int(pid) for pid in file.read().split())
    except OSError:
        pass
    return sorted(found)


def _child(server: ForkServer, run: Callable[[], object], parent: int, zygote: bool) -> NoReturn:
    """Never returns: the stack below belongs to the zygote."""
    try:
        own_group()
        if not zygote:
            die_with_parent(parent)
            be_first_out_of_memory()
        signal.set_wakeup_fd(-1)
        for sig in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
            signal.signal(sig, signal.SIG_DFL)
        os.close(server._wake_read)
        os.close(server._wake_write)
        server.control.close()
        gc.enable()
        run()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    except SystemExit as exit_:
        os._exit(exit_.code if isinstance(exit_.code, int) else 1)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(124)
