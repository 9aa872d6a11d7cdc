"""Helpers beside the DAG: a change here makes a new version of the DAG too."""

from __future__ import annotations

from typing import TypedDict


class Sale(TypedDict):
    region: str
    amount: float


def clean(row: dict[str, str]) -> Sale | None:
    """A row without a region or with an amount that is no number is left out."""
    try:
        return {"region": row["region"].strip().lower() or _missing(), "amount": float(row["amount"])}
    except (KeyError, ValueError):
        return None


def _missing() -> str:
    raise ValueError("no region")
