"""The only file that touches Airflow's private names (apache-airflow-core 3.3.2, apache-airflow-task-sdk 1.3.2)."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from socket import socket
from typing import Any

import structlog
from pydantic import TypeAdapter

from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.models.serialized_dag import SerializedDagModel
from airflow.sdk.api.datamodels._generated import TaskInstanceState
from airflow.sdk.definitions.mappedoperator import MappedOperator
from airflow.sdk.bases.operator import BaseOperator
from airflow.sdk.execution_time import comms, task_runner
from airflow.sdk.execution_time.supervisor import _fork_main
from airflow.serialization.serialized_objects import DagSerialization, LazyDeserializedDAG

BUNDLE_NAME = "dags-folder"

CommsDecoder = comms.CommsDecoder
_airflow_parse = task_runner.parse
_TO_TASK: TypeAdapter[Any] = TypeAdapter(comms.ToTask)


class WarmCommsDecoder(comms.CommsDecoder):  # type: ignore[type-arg]
    """Airflow's decoder with the adapters that were built before the fork: building them takes 10 ms."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(body_decoder=_TO_TASK, err_decoder=_TO_TASK, **kwargs)

    @classmethod
    def __class_getitem__(cls, _: Any) -> Any:
        return cls


task_runner.CommsDecoder = WarmCommsDecoder  # type: ignore[misc]


def use_bundle(path: str) -> None:
    """Make the folder `path` the one bundle that Airflow's own code finds."""
    os.environ["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"] = json.dumps(
        [
            {
                "name": BUNDLE_NAME,
                "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
                "kwargs": {"path": path},
            }
        ]
    )


def open_bundle() -> Any:
    bundle = DagBundlesManager().get_bundle(name=BUNDLE_NAME, version=None)
    bundle.initialize()
    return bundle


def load_dag_file(path: str, root: str, *, safe_mode: bool | None = None) -> BundleDagBag:
    options: dict[str, Any] = {} if safe_mode is None else {"safe_mode": safe_mode}
    return BundleDagBag(
        dag_folder=path, bundle_path=Path(root), bundle_name=BUNDLE_NAME, load_op_links=False, **options
    )


def use_loaded_dags(bag: BundleDagBag | None, bundle: Any) -> None:
    """Let the task runner take its DAG from `bag` instead of importing the file again; None gives Airflow's own parse back."""
    if bag is None:
        task_runner.parse = _airflow_parse
        return

    def parse(what: Any, log: Any) -> Any:
        dag = bag.dags.get(what.ti.dag_id)
        task = dag.task_dict.get(what.ti.task_id) if dag else None
        if dag is None or not isinstance(task, (BaseOperator, MappedOperator)):
            return _airflow_parse(what, log)
        task_runner._register_deserialization_allowed_classes(dag, log)
        return task_runner.RuntimeTaskInstance.model_construct(
            **what.ti.model_dump(exclude_unset=True),
            task=task,
            bundle_instance=bundle,
            _ti_context_from_server=what.ti_context,
            max_tries=what.ti_context.max_tries,
            start_date=what.start_date,
            state=TaskInstanceState.RUNNING,
            sentry_integration=what.sentry_integration,
        )

    task_runner.parse = parse


def set_comms(value: Any) -> None:
    """What `Variable.get` and its like talk to."""
    task_runner.SUPERVISOR_COMMS = value


def clear_comms() -> None:
    if hasattr(task_runner, "SUPERVISOR_COMMS"):
        del task_runner.SUPERVISOR_COMMS


def run_supervised(requests: socket, stdout: socket, stderr: socket, logs: int, target: Callable[[], None]) -> None:
    """Airflow's entry of a supervised child: standard streams, logging, no ORM. Does not return."""
    _fork_main(requests, stdout, stderr, logs, target)


def run_task() -> None:
    task_runner.main()


def block_orm_access() -> None:
    from airflow.sdk.execution_time.supervisor import block_orm_access as block

    block()


def serialize(dag: Any) -> tuple[dict[str, Any], LazyDeserializedDAG]:
    data = DagSerialization.to_dict(dag)
    return data, LazyDeserializedDAG(data=data, last_loaded=dag.last_loaded)


def dag_hash(data: dict[str, Any]) -> str:
    return SerializedDagModel.hash(data)


def forget_modules_below(root: str) -> None:
    """Drop the workspace's modules, so that a later import runs their code again."""
    prefix = os.path.join(root, "")
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(prefix):
            del sys.modules[name]


def logger() -> Any:
    return structlog.get_logger(logger_name="task")
