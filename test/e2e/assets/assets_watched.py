"""A DAG that runs when a trigger sees something: event-driven scheduling."""

from __future__ import annotations

import asyncio
import os

from airflow.sdk import DAG, Asset, AssetWatcher, task
from airflow.triggers.base import BaseEventTrigger, TriggerEvent


class FileSeen(BaseEventTrigger):
    """Fires once for each file that appears in a folder."""

    def __init__(self, folder: str):
        super().__init__()
        self.folder = folder

    def serialize(self):
        return ("assets_watched.FileSeen", {"folder": self.folder})

    async def run(self):
        known = set()
        while True:
            for name in sorted(set(os.listdir(self.folder)) - known):
                known.add(name)
                yield TriggerEvent({"name": name})
            await asyncio.sleep(0.05)


INBOX = Asset("inbox", watchers=[AssetWatcher(name="folder", trigger=FileSeen(folder="INBOX_FOLDER"))])

with DAG("on_inbox", schedule=INBOX):

    @task
    def see(triggering_asset_events=None):
        return [event.extra for events in triggering_asset_events.values() for event in events]

    see()
