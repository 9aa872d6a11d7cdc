"""The only file that touches Airflow's private names (apache-airflow-core 3.3.2, apache-airflow-task-sdk 1.3.2)."""

from __future__ import annotations

import functools
import importlib
import json
import os
import signal
import sys
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from socket import socket
from typing import Any



class _LateLibcst(types.ModuleType):
    """libcst is 11 MB, and only `remove_task_decorator` (virtualenv operators) needs it: it is imported when that runs."""

    CSTTransformer = object

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        # Runs the module again in its own namespace, now with the real one.
        importlib.reload(sys.modules["airflow.sdk.definitions._internal.decorators"])
        return getattr(sys.modules["libcst"], name)


def _import_airflow_leanly() -> None:
    # Airflow then sets up no ORM: no task may use it, and its dialects are 17 MB.
    os.environ["_AIRFLOW__REEXECUTED_PROCESS"] = "1"
    stand_ins: dict[str, Any] = {
        "libcst": _LateLibcst("libcst"),
        # 4 MB for the colours of a terminal; our logs are JSON. None makes an import fail, which structlog is ready for.
        "rich": None,
    }
    for name in stand_ins.keys() - sys.modules.keys():
        sys.modules[name] = stand_ins[name]
    importlib.import_module("airflow.sdk.definitions._internal.decorators")
    importlib.import_module("airflow.sdk.execution_time.supervisor")
    for name, stand_in in stand_ins.items():
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
    del os.environ["_AIRFLOW__REEXECUTED_PROCESS"]


_import_airflow_leanly()

import structlog  # noqa: E402
import importlib_metadata  # noqa: E402
import msgspec  # noqa: E402
import sqlalchemy.event  # noqa: E402
import sqlalchemy.orm  # noqa: E402
from pydantic import TypeAdapter  # noqa: E402
import airflow.models  # noqa: E402
from airflow.dag_processing.bundles.manager import DagBundlesManager  # noqa: E402
from airflow.dag_processing.dagbag import BundleDagBag  # noqa: E402
from airflow.dag_processing.importers import python_importer  # noqa: E402
from airflow.models.serialized_dag import SerializedDagModel  # noqa: E402
from airflow.sdk.api.datamodels._generated import TaskInstanceState  # noqa: E402
from airflow.sdk.definitions.dag import DAG  # noqa: E402
from airflow.sdk.definitions.mappedoperator import MappedOperator  # noqa: E402
from airflow.sdk.bases.operator import BaseOperator  # noqa: E402
from airflow.sdk.execution_time import comms, task_runner  # noqa: E402
from airflow.sdk.execution_time.supervisor import _configure_logs_over_json_channel, _fork_main  # noqa: E402
from airflow.serialization.serialized_objects import DagSerialization, LazyDeserializedDAG  # noqa: E402
from leoflow_runtime import staging  # noqa: E402

BUNDLE_NAME = "dags-folder"


@sqlalchemy.event.listens_for(sqlalchemy.orm.Mapper, "before_configured", once=True)
def _import_all_models() -> None:
    # Code that makes a model object (an old-style Connection) needs all of them; nobody else does, and they are 2 MB.
    airflow.models.import_all_models()


CommsDecoder = comms.CommsDecoder
_airflow_parse = task_runner.parse
_task_known: Callable[[str, str], None] = lambda dag_id, task_id: None  # noqa: E731


def _parse_anew(what: Any, log: Any) -> Any:
    staging.enter(what.ti.dag_id, what.ti.run_id)
    _task_known(what.ti.dag_id, what.ti.task_id)
    return _airflow_parse(what, log)


_TO_TASK: TypeAdapter[Any] = TypeAdapter(comms.ToTask)
_FRAME_DECODER = msgspec.msgpack.Decoder(comms._ResponseFrame)


class WarmCommsDecoder(comms.CommsDecoder):  # type: ignore[type-arg]
    """Airflow's decoder with the adapters that were built before the fork: building them takes 10 ms."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(body_decoder=_TO_TASK, err_decoder=_TO_TASK, resp_decoder=_FRAME_DECODER, **kwargs)

    @classmethod
    def __class_getitem__(cls, _: Any) -> Any:
        return cls


class _SignalsWithoutSegv:
    """The signal module, except that nobody handles SIGSEGV.

    The importer's Python handler would make a real segmentation fault an endless loop: the handler runs only after the
    faulting instruction, which faults again. As it is, the process dies and its supervisor says so.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(signal, name)

    @staticmethod
    def signal(number: int, handler: Any) -> Any:
        return None if number == signal.SIGSEGV else signal.signal(number, handler)


python_importer.signal = _SignalsWithoutSegv()  # type: ignore[attr-defined]
task_runner.CommsDecoder = WarmCommsDecoder  # type: ignore[misc]
# Built for each rendered field there: 1 ms each.
task_runner.TypeAdapter = functools.cache(TypeAdapter)  # type: ignore[assignment, misc]


def use_bundle(path: str, name: str | None = None) -> None:
    """Make the folder `path` the one bundle that Airflow's own code finds."""
    global BUNDLE_NAME
    BUNDLE_NAME = name or BUNDLE_NAME
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


def on_dag_made(change: Callable[[str, dict[str, Any]], None]) -> None:
    """Let `change` see the arguments of each DAG that is made from now on."""
    made = DAG.__init__

    @functools.wraps(made)
    def make(self: Any, dag_id: str, *args: Any, **arguments: Any) -> None:
        change(dag_id, arguments)
        made(self, dag_id, *args, **arguments)
        # It takes whoever calls it for the DAG's file.
        self.fileloc = sys._getframe(1).f_code.co_filename

    DAG.__init__ = make  # type: ignore[method-assign]


def on_dag_loaded(change: Callable[[Any], None]) -> None:
    """Let `change` see each DAG that a file gives from now on, before policies do."""
    bag_dag = BundleDagBag.bag_dag

    def bag(self: Any, dag: Any) -> None:
        change(dag)
        bag_dag(self, dag)

    BundleDagBag.bag_dag = bag  # type: ignore[method-assign]


def on_task_known(listen: Callable[[str, str], None]) -> None:
    """Tell the process of a task which task it is to run, before its DAG is looked for."""
    global _task_known
    _task_known = listen


def cron_timetable(expression: str, zone: str) -> Any:
    """What a DAG makes of a cron expression, in this time zone."""
    from airflow.sdk.definitions.dag import _create_timetable
    from airflow.sdk._shared.timezones.timezone import parse_timezone

    return _create_timetable(expression, parse_timezone(zone))


def use_loaded_dags(bag: BundleDagBag | None, bundle: Any) -> None:
    """Let the task runner take its DAG from `bag` instead of importing the file again; None gives Airflow's own parse back."""
    if bag is None:
        task_runner.parse = _parse_anew
        return

    def parse(what: Any, log: Any) -> Any:
        staging.enter(what.ti.dag_id, what.ti.run_id)
        _task_known(what.ti.dag_id, what.ti.task_id)
        dag = bag.dags.get(what.ti.dag_id)
        task = dag.task_dict.get(what.ti.task_id) if dag else None
        if dag is None or not isinstance(task, (BaseOperator, MappedOperator)):
            return _airflow_parse(what, log)
        task_runner._register_deserialization_allowed_classes(dag, log)
        bundle.version = what.bundle_info.version
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


def run_supervised(requests: socket, stdout: socket, stderr: socket, target: Callable[[], None]) -> None:
    """Airflow's entry of a supervised child: standard streams, no ORM. Logging is set up before. Does not return."""
    _fork_main(requests, stdout, stderr, 0, target)


def run_task() -> None:
    task_runner.main()


def callback_seconds(*, of_file: bool) -> int:
    """How long a callback may take: as long as its file may take to be processed, or an executor's callback."""
    from airflow.sdk.configuration import conf

    if of_file:
        return conf.getint("dag_processor", "dag_file_processor_timeout", fallback=50)
    return conf.getint("callbacks", "callback_execution_timeout", fallback=0)


def execute_callback_request(bag: BundleDagBag, request: dict[str, Any], log: Any) -> None:
    """What Airflow's DAG processor does with a request of the scheduler."""
    from airflow.callbacks.callback_requests import CallbackRequest
    from airflow.dag_processing.processor import _execute_callbacks

    _execute_callbacks(bag, [TypeAdapter(CallbackRequest).validate_python(request)], log)


def execute_callback(path: str, kwargs: dict[str, Any], directory: str, file: str, log: Any) -> None:
    """What Airflow's executors do with the callback of a deadline; `kwargs` as the SDK serializes them."""
    from airflow.sdk.execution_time.callback_supervisor import execute_callback as execute
    from airflow.sdk.serde import deserialize as serde_deserialize

    succeeded, message = execute(path, serde_deserialize(kwargs), Path(file), Path(directory), log)
    if not succeeded and not log.errors:
        log.error("Callback failed", error=message)


def evaluate_deadline_reference(reference: dict[str, Any], dag_id: str, run_id: str) -> str | None:
    """When a run's deadline counts from, by a class of the user's own. There is no database session to give it."""
    from datetime import timedelta

    from airflow.serialization.decoders import decode_deadline_reference

    decoded = decode_deadline_reference(reference)
    at = decoded.evaluate_with(session=None, interval=timedelta(0), dag_id=dag_id, run_id=run_id)
    return None if at is None else at.isoformat()


def resume_with_event(stored: str | None, payload: Any) -> dict[str, Any]:
    """What `handle_event_submit` makes of a task's `next_kwargs` and an event: new ones, or why the task cannot be resumed."""
    from airflow.models.trigger import _decode_next_kwargs
    from airflow.sdk.serde import serialize as serde_serialize

    try:
        next_kwargs = _decode_next_kwargs(json.loads(stored) if stored else {})
    except Exception as error:
        return _unresumable("its stored next_kwargs could not be decoded", error)
    try:
        text = json.dumps(serde_serialize({**next_kwargs, "event": payload}), allow_nan=False)
    except Exception as error:
        return _unresumable("the event payload could not be serialized", error)
    return {"kind": "resume", "next_kwargs": text}


def _unresumable(why: str, error: Exception) -> dict[str, Any]:
    reason = f"Could not resume the task: {why} ({type(error).__name__}: {error})"
    return {"kind": "unresumable", "error": reason, "traceback": traceback.format_exception(error)}


def message_encoder() -> Any:
    """How messages to a supervisor are written: raises for what has no place in msgpack."""
    return comms._new_encoder()


class _NobodysComms:
    """A supervisor that hands out one task and takes what it says."""

    def __init__(self, details: Any) -> None:
        self._details = details
        self.socket = None

    def _get_response(self) -> Any:
        return _TO_TASK.validate_python({"type": "StartupDetails", **self._details})

    def send(self, msg: Any) -> None:
        comms._RequestFrame(id=0, body=msg.model_dump(), context_carrier=None).as_bytes()


def run_for_nothing(task: Any, details: dict[str, Any], bundle: Any) -> None:
    """Run a task with nobody listening, for all it imports and caches on its way."""

    class Bag:
        dags = {task.dag.dag_id: task.dag}

    real = task_runner.CommsDecoder
    use_loaded_dags(Bag, bundle)
    task_runner.CommsDecoder = _Subscriptable(lambda **_: _NobodysComms(details))  # type: ignore[assignment, misc]
    try:
        task_runner.main()
    finally:
        task_runner.CommsDecoder = real  # type: ignore[misc]
        use_loaded_dags(None, None)


class _Subscriptable:
    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __getitem__(self, _: Any) -> Callable[..., Any]:
        return self._make


def set_up_logging(fd: int) -> None:
    """Set logging up once as a supervised child does: JSON lines to `fd`. A child puts its own socket there."""
    _configure_logs_over_json_channel(fd)


def drop_fork_caches() -> None:
    """Empty now what hooks would empty in each child after its fork, where it costs a copy of every page touched."""
    importlib_metadata.FastPath.__new__.cache_clear()  # type: ignore[attr-defined]


def block_orm_access() -> None:
    from airflow.sdk.execution_time.supervisor import block_orm_access as block

    block()


def serialize(dag: Any) -> tuple[dict[str, Any], LazyDeserializedDAG]:
    data = DagSerialization.to_dict(dag)
    if weights := _own_weights(data):
        data["leoflow"] = {"weights": weights}
    return data, LazyDeserializedDAG(data=data, last_loaded=dag.last_loaded)


def _own_weights(data: dict[str, Any]) -> dict[str, int]:
    """What strategies of the user's own weigh new task instances with: asked now, so that making runs needs no Python."""
    built_in = ("absolute", "downstream", "upstream", None)
    fields = [task["__var"] for task in data["dag"]["tasks"]]
    own = [f["task_id"] for f in fields if {**f, **f.get("partial_kwargs", {})}.get("weight_rule") not in built_in]
    if not own:
        return {}
    from airflow.models.taskinstance import TaskInstance

    loaded = deserialize(data)
    tasks = [loaded.get_task(task_id) for task_id in own]
    # As Airflow's TaskInstance.insert_mapping asks; making one asks too.
    return {task.task_id: TaskInstance(task, run_id="", dag_version_id=None).priority_weight for task in tasks}


def decode_timetable(type_name: str, data: dict[str, Any]) -> Any:
    """A timetable of Airflow's own, or one that a plugin registers; raises when there is none."""
    from airflow.serialization.decoders import decode_timetable as decode

    return decode({"__type": type_name, "__var": data})


def coerce_datetime(at: Any) -> Any:
    """As pendulum; without a zone it is UTC."""
    from airflow._shared.timezones.timezone import coerce_datetime as coerce

    return coerce(at)


def deserialize(data: dict[str, Any]) -> Any:
    return DagSerialization.from_dict(data)


def runtime_task_instance(ti: Any, dag: Any, dag_run_data: dict[str, Any]) -> Any:
    """`TriggerRunner.create_runtime_ti` with a DAG that is deserialized already."""
    from airflow.api_fastapi.execution_api.datamodels.taskinstance import DagRun
    from airflow.sdk.api.datamodels._generated import TIRunContext

    task = dag.get_task(ti.task_id)
    return task_runner.RuntimeTaskInstance.model_construct(
        **ti.model_dump(exclude_unset=True),
        task=task,
        _ti_context_from_server=TIRunContext.model_construct(dag_run=DagRun(**dag_run_data), max_tries=task.retries),
    )


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
