"""From a CSV file to a database and a report: extract, check, load into SQLite, report in Markdown."""

from __future__ import annotations

import csv
import sqlite3
from datetime import datetime, timezone
from pathlib import Path
from tempfile import gettempdir

from airflow.sdk import dag, task

from sales_etl.cleaning import Sale, clean

HERE = Path(__file__).parent


@dag(
    schedule="0 6 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    tags=["example", "etl"],
    default_args={"retries": 1},
)
def sales_etl():
    """### Daily sales
    Reads `data/sales.csv`, keeps the valid rows, loads them into SQLite and writes a report per region.
    """

    @task
    def extract() -> list[dict[str, str]]:
        with (HERE / "data" / "sales.csv").open() as file:
            return list(csv.DictReader(file))

    @task
    def transform(rows: list[dict[str, str]]) -> list[Sale]:
        good = [sale for row in rows if (sale := clean(row)) is not None]
        print(f"{len(good)} of {len(rows)} rows are valid")
        return good

    @task
    def load(sales: list[Sale], run_id: str | None = None) -> str:
        database = Path(gettempdir()) / "leoflow-sales.sqlite"
        with sqlite3.connect(database) as connection:
            connection.execute("create table if not exists sales (run_id text, region text, amount real)")
            connection.execute("delete from sales where run_id = ?", (run_id,))
            connection.executemany(
                "insert into sales values (?, ?, ?)", [(run_id, sale["region"], sale["amount"]) for sale in sales]
            )
        return str(database)

    @task
    def report(database: str, run_id: str | None = None) -> str:
        with sqlite3.connect(database) as connection:
            rows = connection.execute(
                "select region, count(*), sum(amount) from sales where run_id = ? group by region order by region",
                (run_id,),
            ).fetchall()
        lines = ["| region | sales | amount |", "|---|---|---|"]
        lines += [f"| {region} | {count} | {amount:.2f} |" for region, count, amount in rows]
        text = "\n".join(lines)
        print(text)
        return text

    report(load(transform(extract())))


sales_etl()
