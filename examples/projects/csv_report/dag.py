"""Reads data that is packed with the project."""

import csv
from collections import defaultdict
from pathlib import Path

from airflow.sdk import dag, task


@dag("csv_report", catchup=False)
def csv_report():
    @task
    def read() -> list[dict]:
        with open(Path(__file__).parent / "sales.csv", newline="") as file:
            return list(csv.DictReader(file))

    @task
    def report(rows: list[dict]) -> str:
        totals = defaultdict(float)
        for row in rows:
            totals[row["region"]] += float(row["amount"])
        return "; ".join(f"{region} {total:.2f}" for region, total in sorted(totals.items()))

    report(read())


csv_report()
