"""A database that needs no server."""

import os
import sqlite3
import tempfile

from airflow.sdk import DAG, task

with DAG("sqlite_load", max_active_runs=1):

    @task
    def create() -> str:
        path = os.path.join(tempfile.mkdtemp(prefix="sqlite_load-"), "sales.db")
        with sqlite3.connect(path) as database:
            database.execute("create table sale (item text primary key, price real)")
        return path

    @task
    def load(path: str) -> str:
        with sqlite3.connect(path) as database:
            database.executemany("insert or replace into sale values (?, ?)", [("tea", 3.5), ("coffee", 4.25)])
        return path

    @task
    def total(path: str) -> float:
        with sqlite3.connect(path) as database:
            (amount,) = database.execute("select sum(price) from sale").fetchone()
        os.remove(path)
        os.rmdir(os.path.dirname(path))
        return amount

    total(load(create()))
