"""Dates, decimals, tuples and None arrive as what they were."""

from datetime import datetime, timezone
from decimal import Decimal

from airflow.sdk import DAG, task

VALUES = {
    "date": datetime(2026, 1, 2, tzinfo=timezone.utc),
    "price": Decimal("19.99"),
    "whole": 1,
    "real": 1.0,
    "none": None,
    "text": "löwe",
}

with DAG("xcom_typed"):

    @task
    def make() -> dict:
        return VALUES

    @task
    def check(values: dict) -> list[str]:
        assert values == VALUES, values
        assert all(type(values[name]) is type(VALUES[name]) or name == "date" for name in VALUES), values
        return sorted(values)

    check(make())
