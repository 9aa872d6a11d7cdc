"""What the first task or parse would import or build, done once before any fork."""

from __future__ import annotations

import importlib


def warm() -> None:
    for name in (
        "jinja2.ext",
        "airflow.sdk.execution_time.context",
        "airflow.dag_processing.bundles.local",
        "leoflow_runtime.parser",
    ):
        importlib.import_module(name)
