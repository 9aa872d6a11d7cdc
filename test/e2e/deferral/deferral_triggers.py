"""Triggers that do one thing each. They also run on Airflow itself: put this folder on its PYTHONPATH."""

from __future__ import annotations

import asyncio
import datetime
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from airflow.triggers.base import BaseTrigger, TaskFailedEvent, TaskSkippedEvent, TaskSuccessEvent, TriggerEvent


class DoesTrigger(BaseTrigger):
    """Does what it is told; `marks` is a file that it tells of its life."""

    def __init__(self, what: str, value: Any = None, marks: str | None = None) -> None:
        super().__init__()
        self.what = what
        self.value = value
        self.marks = marks

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return ("deferral_triggers.DoesTrigger", {"what": self.what, "value": self.value, "marks": self.marks})

    def mark(self, text: str) -> None:
        if self.marks:
            with open(self.marks, "a") as file:
                file.write(f"{text}\n")

    async def run(self) -> AsyncIterator[TriggerEvent]:
        self.mark(f"run {os.getpid()}")
        if self.what == "event":
            yield TriggerEvent(self.value)
        elif self.what == "twice":
            yield TriggerEvent("first")
            yield TriggerEvent("second")
        elif self.what == "date":
            yield TriggerEvent({"at": datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=datetime.timezone.utc), "one": 1.0, "pair": (1, 2)})
        elif self.what == "unserializable":
            yield TriggerEvent(object())
        elif self.what == "raise":
            raise ValueError(f"the trigger raised {self.value}")
        elif self.what == "nothing":
            pass
        elif self.what == "return":
            return
        elif self.what == "forever":
            while True:
                await asyncio.sleep(3600)
        elif self.what == "file":
            while not Path(self.value).exists():
                await asyncio.sleep(0.05)
            yield TriggerEvent("there")
        elif self.what == "at":
            await asyncio.sleep(max(0.0, self.value / 1000 - time.time()))
            yield TriggerEvent(time.time() * 1000)
        elif self.what == "block":
            if not Path(self.value).exists():
                time.sleep(3600)
            yield TriggerEvent("unblocked")
        elif self.what == "crash":
            os._exit(11)
        elif self.what == "success":
            yield TaskSuccessEvent(xcoms=self.value)
        elif self.what == "failed":
            yield TaskFailedEvent(xcoms=self.value)
        elif self.what == "skipped":
            yield TaskSkippedEvent(xcoms=self.value)
        elif self.what == "connection":
            from airflow.sdk import Connection, Variable

            # Both ways: from within the loop, and from a thread.
            connection = Connection.get("a_connection")
            variable = await asyncio.to_thread(Variable.get, "a_variable")
            self.log.info("the password is %s", connection.password)
            yield TriggerEvent([connection.host, variable])
        elif self.what == "log":
            self.log.info("said by the trigger")
            print("printed by the trigger")
            yield TriggerEvent(None)

    async def cleanup(self) -> None:
        self.mark("cleanup")

    async def on_kill(self) -> None:
        self.mark("on_kill")


class CannotBeMade(BaseTrigger):
    def __init__(self, given: int) -> None:
        super().__init__()

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return ("deferral_triggers.CannotBeMade", {"something": "else"})

    async def run(self) -> AsyncIterator[TriggerEvent]:
        yield TriggerEvent(None)


class Unknown(BaseTrigger):
    def serialize(self) -> tuple[str, dict[str, Any]]:
        return ("deferral_triggers.NoSuchTrigger", {})

    async def run(self) -> AsyncIterator[TriggerEvent]:
        yield TriggerEvent(None)


class UnknownModule(Unknown):
    def serialize(self) -> tuple[str, dict[str, Any]]:
        return ("no_such_module_anywhere.Trigger", {})
