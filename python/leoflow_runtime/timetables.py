"""Asks a user's own timetable, in a child of the base zygote that knows plugins as they are now."""

from __future__ import annotations

import traceback
from datetime import datetime, timezone
from typing import Any, NoReturn

import pendulum

from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction, Timetable
from airflow.utils.types import DagRunType
from leoflow_runtime import answering, compat
from leoflow_runtime.forkserver import AgentConnection, Command


def run(command: Command, agent: AgentConnection) -> NoReturn:
    answering.run(command, agent, f"leoflow timetable: {command['type']}", answer)


def answer(command: Command) -> dict[str, Any]:
    question: dict[str, Any] = command["question"]
    found: dict[str, Any] = {"runs": [], "dataInterval": None, "runId": None, "failure": None}
    lift = answering.limit_memory(command["memoryMb"])
    try:
        timetable = compat.decode_timetable(command["type"], command["data"])
        _ASK[question["kind"]](timetable, question, found)
    except BaseException as error:
        lift()
        found["failure"] = {
            "kind": "raised",
            "reason": "".join(traceback.format_exception_only(error)).strip().split("\n")[0],
            "details": traceback.format_exc(),
            "isValueError": isinstance(error, ValueError),
        }
    return found


def _next(timetable: Timetable, question: dict[str, Any], found: dict[str, Any]) -> None:
    restriction = question["restriction"]
    _follow(
        timetable,
        _run_info(question["last"]),
        TimeRestriction(_moment(restriction["earliest"]), _moment(restriction["latest"]), restriction["catchup"]),
        question["count"],
        found["runs"],
        DagRunType.SCHEDULED,
    )


def _between(timetable: Timetable, question: dict[str, Any], found: dict[str, Any]) -> None:
    earliest, latest = _moment(question["earliest"]), _moment(question["latest"])
    if timetable.partitioned:
        for info in timetable.iter_partition_dagrun_infos(earliest=earliest, latest=latest):
            found["runs"].append(_describe(timetable, info, DagRunType.BACKFILL_JOB))
            if len(found["runs"]) >= question["limit"]:
                return
        return
    restriction = TimeRestriction(earliest, latest, catchup=True)
    last = _run_info(question["last"])
    _follow(timetable, last, restriction, question["limit"], found["runs"], DagRunType.BACKFILL_JOB)


def _manual(timetable: Timetable, question: dict[str, Any], found: dict[str, Any]) -> None:
    logical_date, run_after = _moment(question["logicalDate"]), _moment(question["runAfter"])
    interval = _data_interval(question["dataInterval"])
    if interval is None and logical_date is not None:
        interval = timetable.infer_manual_data_interval(run_after=logical_date)
    found["dataInterval"] = _interval(interval)
    found["runId"] = timetable.generate_run_id(
        run_type=DagRunType(question["runType"]), run_after=run_after, data_interval=interval
    )


_ASK = {"next": _next, "between": _between, "manual": _manual}


def _follow(
    timetable: Timetable,
    info: DagRunInfo | None,
    restriction: TimeRestriction,
    count: int,
    runs: list[dict[str, Any]],
    run_type: DagRunType,
) -> None:
    for _ in range(count):
        info = timetable.next_dagrun_info_v2(last_dagrun_info=info, restriction=restriction)
        if not info:
            return
        runs.append(_describe(timetable, info, run_type))


def _describe(timetable: Timetable, info: DagRunInfo, run_type: DagRunType) -> dict[str, Any]:
    return {
        "logicalDate": _text(info.logical_date),
        "dataInterval": _interval(info.data_interval),
        "runAfter": _text(info.run_after),
        "partitionKey": info.partition_key,
        "partitionDate": _text(info.partition_date),
        "runId": timetable.generate_run_id(
            run_type=run_type,
            run_after=compat.coerce_datetime(info.run_after),
            data_interval=info.data_interval,
            partition_key=info.partition_key,
        ),
    }


def _run_info(last: dict[str, Any] | None) -> DagRunInfo | None:
    if last is None:
        return None
    return DagRunInfo(
        run_after=_moment(last["runAfter"]),
        data_interval=_data_interval(last["dataInterval"]),
        partition_date=_moment(last.get("partitionDate")),
        partition_key=last.get("partitionKey"),
    )


def _data_interval(interval: dict[str, str] | None) -> DataInterval | None:
    return interval and DataInterval(_moment(interval["start"]), _moment(interval["end"]))


def _interval(interval: Any) -> dict[str, Any] | None:
    return interval and {"start": _text(interval.start), "end": _text(interval.end)}


def _moment(text: str | None) -> Any:
    return None if text is None else pendulum.parse(text)


def _text(at: Any) -> str | None:
    if at is None:
        return None
    if not isinstance(at, datetime):
        raise TypeError(f"a timetable must name moments, not {at!r}")
    utc = compat.coerce_datetime(at).astimezone(timezone.utc)
    return utc.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
