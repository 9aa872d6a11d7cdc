"""Airflow's TriggerRunner in a child of the base zygote: thousands of triggers on one event loop.

Airflow's runner and its supervisor tell each other once a second what is new. Here both tell it when it happens:

1. The agent pushes triggers to create and to cancel, in frames with an id of their own.
2. An event, a failure or an end of a trigger wakes the loop that reports them. What is reported is done with once the agent
   has answered, which it does after it has written it.
3. While nothing happens, a report without news says every few seconds that the loop is alive.

What Airflow's supervisor does in Python with an event (adding it to the task's `next_kwargs`) is done here as well: the agent
only stores the outcome.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, NoReturn

import anyio
import msgspec
import setproctitle
from pydantic import BaseModel

from airflow.executors.workloads import RunTrigger
from airflow.jobs import triggerer_job_runner
from airflow.triggers.base import BaseTaskEndEvent
from leoflow_runtime import compat, log_channel
from leoflow_runtime.forkserver import AgentConnection, Command
from leoflow_runtime.workspace import put_on_path

_PUSH_ID = 0xFFFF_FFFF
_BEAT_SECONDS = 5.0
# So many are made before what has happened meanwhile is told.
_CREATE_AT_ONCE = 50
# A trigger that keeps the loop from running for so long is reported, with what it does.
_BLOCKED_SECONDS = 5.0


def run(command: Command, agent: AgentConnection) -> NoReturn:
    token: str = command["token"]
    setproctitle.setproctitle("leoflow triggers")
    requests = agent.open("requests", token)
    log_channel.log_to(agent.open("logs", token))
    stdout = agent.open("stdout", token)
    stderr = agent.open("stderr", token)
    directory = command.get("directory")

    def target() -> None:
        if directory:
            put_on_path(directory, os.path.join(directory, command["file"]), command.get("workspace"))
        Runner().run()

    compat.run_supervised(requests, stdout, stderr, target)
    os._exit(124)


class StateChanges(BaseModel):
    """What the agent hears: Airflow's TriggerStateChanges, with events as they are to be stored."""

    type: Literal["TriggerStateChanges"] = "TriggerStateChanges"
    events: list[dict[str, Any]] | None = None
    failures: list[tuple[int, list[str] | None]] | None = None
    finished: list[int] | None = None


class _Waking(deque[Any]):
    """A queue that wakes who empties it."""

    def __init__(self, wake: Callable[[], None]) -> None:
        super().__init__()
        self._wake = wake

    def append(self, item: Any) -> None:
        super().append(item)
        self._wake()


class _Table(dict[int, Any]):
    """The running triggers. Its items are only those that have ended: the runner's clean-up need not walk through all."""

    def __init__(self, wake: Callable[[], None]) -> None:
        super().__init__()
        self._ended: list[int] = []
        self._wake = wake

    def __setitem__(self, trigger_id: int, details: Any) -> None:
        super().__setitem__(trigger_id, details)
        details["task"].add_done_callback(lambda _: self._end(trigger_id))

    def _end(self, trigger_id: int) -> None:
        self._ended.append(trigger_id)
        self._wake()

    def items(self) -> Any:
        ended, self._ended = self._ended, []
        return [(trigger_id, self[trigger_id]) for trigger_id in ended if trigger_id in self]


class Runner(triggerer_job_runner.TriggerRunner):
    def __init__(self) -> None:
        super().__init__()
        self._news: asyncio.Event | None = None
        self._beaten = time.monotonic()
        self._next_kwargs: dict[int, str | None] = {}
        self._with_task: set[int] = set()
        self._pushed_workloads: deque[RunTrigger] = deque()
        # By version: serialized, until a trigger needs it as a DAG.
        self._dags: dict[str, Any] = {}
        self.triggers = _Table(self._wake)
        self.events = _Waking(self._wake)
        self.failed_triggers = _Waking(self._wake)

    def _wake(self) -> None:
        if self._news is not None:
            self._news.set()

    def _stop_now(self) -> None:
        self.stop = True
        self._wake()

    async def init_comms(self) -> None:
        triggerer_job_runner.TriggerCommsDecoder = _comms_class(self._pushed)
        await super().init_comms()

    def _pushed(self, body: dict[str, Any]) -> None:
        if body.get("forget_dags"):
            needed = {str(waiting.ti.dag_version_id) for waiting in self._pushed_workloads if waiting.ti}
            self._dags = {version: dag for version, dag in self._dags.items() if version in needed}
        self._dags.update(body.get("dags") or {})
        for given in body.get("create") or ():
            try:
                workload = RunTrigger.model_validate(given)
            except ValueError as error:
                self.failed_triggers.append((given["id"], error))
                continue
            if workload.id in self.triggers:
                continue
            self._next_kwargs[workload.id] = given.get("next_kwargs")
            if workload.ti is not None:
                self._with_task.add(workload.id)
            if workload.dag_data is not None:
                workload.dag_data = {"version": str(workload.ti.dag_version_id)}
            self._pushed_workloads.append(workload)
        self.to_cancel.extend(body.get("cancel") or ())
        self._wake()

    async def arun(self) -> None:
        loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._stop_event = anyio.Event()
        await self.init_comms()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_now)
        watchdog = asyncio.create_task(self.block_watchdog())
        self._watch_loop(loop)
        try:
            while not self.stop:
                if watchdog.done():
                    watchdog.result()
                if self.comms_decoder._reader_task.done():
                    raise RuntimeError("Supervisor connection lost")
                self._news.clear()
                self._beaten = time.monotonic()
                finished = await self.cleanup_finished_triggers()
                await self.sync_state_to_supervisor(finished)
                for trigger_id in finished:
                    self._next_kwargs.pop(trigger_id, None)
                    self._with_task.discard(trigger_id)
                await self.create_triggers()
                await self.cancel_triggers()
                with anyio.move_on_after(_BEAT_SECONDS):
                    await self._news.wait()
        finally:
            self.stop = True
            self.comms_decoder._reader_task.cancel()
            await self._shared_streams.stop_all()
        await watchdog

    async def create_triggers(self) -> None:
        # One by one: Airflow's runner ends with all its triggers when one of them raises anything but a TypeError here.
        for _ in range(min(_CREATE_AT_ONCE, len(self._pushed_workloads))):
            workload = self._pushed_workloads.popleft()
            self.to_create.append(workload)
            try:
                await super().create_triggers()
            except Exception as error:
                self.log.error("Trigger failed to inflate", error=error)
                self.failed_triggers.append((workload.id, error))
        if self._pushed_workloads:
            self._wake()

    def create_runtime_ti(self, task_instance: Any, encoded_dag: Any, dag_run_data: Any) -> Any:
        version = encoded_dag["version"]
        dag = self._dags[version]
        if isinstance(dag, dict):
            # Airflow does so for each trigger; one for all of a version is the same and takes less.
            dag = self._dags[version] = compat.deserialize(dag)
        return compat.runtime_task_instance(task_instance, dag, dag_run_data)

    async def cancel_triggers(self) -> None:
        # What was pushed since `create_triggers` is not to be created any more.
        for workload in [waiting for waiting in self._pushed_workloads if waiting.id in self.to_cancel]:
            self._pushed_workloads.remove(workload)
        await super().cancel_triggers()

    def process_trigger_events(self, finished_ids: list[int]) -> Any:
        events: list[dict[str, Any]] = []
        while self.events:
            entry = self.events.popleft()
            try:
                events.append({"trigger_id": entry.trigger_id, "seq": entry.persist_seq, **self._outcome(entry)})
            except Exception as error:
                self.log.error(
                    f"Trigger {entry.trigger_id} returned non-serializable result {entry.event!r}. Cancelling trigger.",
                    trigger_id=entry.trigger_id,
                )
                self.failed_triggers.append((entry.trigger_id, error))
        failures: list[tuple[int, list[str] | None]] = []
        while self.failed_triggers:
            trigger_id, error = self.failed_triggers.popleft()
            failures.append((trigger_id, traceback.format_exception(error) if error else None))
        return StateChanges(events=events or None, failures=failures or None, finished=finished_ids or None)

    def _outcome(self, entry: Any) -> dict[str, Any]:
        # What Airflow's supervisor would see of it.
        event = msgspec.msgpack.decode(compat.message_encoder().encode(entry.event.model_dump()))
        if isinstance(entry.event, BaseTaskEndEvent):
            # Airflow stores them as texts of JSON, not as what a task would have pushed.
            xcoms = {key: json.dumps(json.dumps(value)) for key, value in (event["xcoms"] or {}).items()}
            return {"kind": "end", "state": event["task_instance_state"], "xcoms": xcoms}
        if entry.trigger_id not in self._with_task:
            return {"kind": "event", "payload": json.dumps(event["payload"])}
        return compat.resume_with_event(self._next_kwargs.get(entry.trigger_id), event["payload"])

    def _watch_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tell the agent, from a thread, which trigger keeps the loop from running."""
        loop_thread = threading.get_ident()
        last = [time.monotonic()]

        def tick() -> None:
            last[0] = time.monotonic()
            loop.call_later(1.0, tick)

        def watch() -> None:
            while not self.stop:
                time.sleep(1.0)
                blocked = time.monotonic() - last[0]
                if blocked < _BLOCKED_SECONDS:
                    continue
                task = asyncio.current_task(loop)
                trigger_id = next((i for i, details in dict.items(self.triggers) if details["task"] is task), None)
                frame = sys._current_frames().get(loop_thread)
                stack = traceback.format_stack(frame) if frame else []
                record = {"leoflow": "blocked", "trigger": trigger_id, "seconds": round(blocked, 1), "stack": stack}
                log_channel.write(json.dumps(record).encode() + b"\n")
                last[0] = time.monotonic()

        tick()
        threading.Thread(target=watch, name="leoflow-watch", daemon=True).start()


_AirflowComms = triggerer_job_runner.TriggerCommsDecoder


def _comms_class(pushed: Callable[[dict[str, Any]], None]) -> Any:
    class PushedComms(_AirflowComms):
        async def _aread_frame(self) -> Any:
            while True:
                frame = await super()._aread_frame()
                if frame.id != _PUSH_ID:
                    return frame
                pushed(frame.body or {})

    return PushedComms
