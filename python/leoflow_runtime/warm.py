"""What the first task would import, build or cache, done once before any fork: a task is run for nothing."""

from __future__ import annotations

import contextlib
import io
import os
import uuid
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import jinja2.ext  # noqa: F401
import setproctitle
import structlog

import airflow.models.dagwarning  # noqa: F401
import airflow.sdk.definitions.asset.metadata  # noqa: F401
from airflow.dag_processing.bundles.local import LocalDagBundle
from airflow.sdk import DAG
from leoflow_runtime import compat

NOTHING = "leoflow_warm_up"


def warm() -> None:
    from airflow.providers.standard.operators.bash import BashOperator  # noqa: F401
    from airflow.providers.standard.operators.python import PythonOperator

    with DAG(NOTHING, schedule=None) as dag:
        operator = PythonOperator(task_id=NOTHING, python_callable=dict, op_kwargs={"a": "{{ ds }}"})
    dag.get_template_env(force_sandboxed=True)
    # Looks for dependencies on other DAGs, for which it imports the operators that make them.
    data, _ = compat.serialize(dag)
    compat.dag_hash(data)
    with _undone(), contextlib.suppress(SystemExit):
        compat.run_for_nothing(operator, _startup_details(), LocalDagBundle(path="/", name=compat.BUNDLE_NAME))
    setproctitle.setproctitle("leoflow python")
    # Name look-ups import the idna codec.
    "localhost".encode("idna")
    compat.block_orm_access()
    compat.drop_fork_caches()


def _startup_details() -> dict[str, Any]:
    now = datetime.now(tz=timezone.utc)
    return {
        "ti": {
            "id": uuid.uuid4(),
            "task_id": NOTHING,
            "dag_id": NOTHING,
            "run_id": NOTHING,
            "try_number": 1,
            "dag_version_id": uuid.uuid4(),
            "map_index": -1,
        },
        "dag_rel_path": "",
        "bundle_info": {"name": compat.BUNDLE_NAME, "version": None},
        "start_date": now,
        "sentry_integration": "",
        "ti_context": {
            "dag_run": {
                "dag_id": NOTHING,
                "run_id": NOTHING,
                "logical_date": now,
                "data_interval_start": now,
                "data_interval_end": now,
                "run_after": now,
                "start_date": now,
                "end_date": None,
                "run_type": "manual",
                "state": "running",
                "conf": {},
                "consumed_asset_events": [],
                "partition_key": None,
            },
            "max_tries": 0,
            "should_retry": False,
        },
    }


@contextlib.contextmanager
def _undone() -> Iterator[None]:
    """Leaves no trace of the run but what it imported and cached."""
    environment = dict(os.environ)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        compat.clear_comms()
        structlog.contextvars.clear_contextvars()
        os.environ.clear()
        os.environ.update(environment)
