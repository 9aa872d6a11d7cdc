"""Writes vectors.json: what Airflow's own timetables answer, over many schedules, zones and clock changes.

Run with the Python of a Leoflow venv: ~/.leoflow/venv/bin/python src/domain/timetable/vectors.py
"""
import contextlib
import datetime
import itertools
import json
import os
import pathlib
import re
import tempfile
from unittest import mock

os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp())

import pendulum
from dateutil.relativedelta import FR, MO, relativedelta

from airflow._shared.timezones import timezone
from airflow.serialization.decoders import decode_timetable
from airflow.serialization.encoders import encode_timetable
from airflow.timetables import events, interval, simple, trigger
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction
from airflow.utils.types import DagRunType

SPRING = "2025-03-28T00:00:00+00:00"  # Europe changes on the 30th, the US three weeks earlier
AUTUMN = "2025-10-24T00:00:00+00:00"  # Europe changes on the 26th, the US a week later
US_SPRING = "2025-03-07T00:00:00+00:00"
US_AUTUMN = "2025-10-31T00:00:00+00:00"
PLAIN = "2025-01-15T10:30:15+00:00"
SOUTH = "2025-04-04T00:00:00+00:00"  # Australia, half an hour on Lord Howe
td = datetime.timedelta


def core(name, data):
    return decode_timetable({"__type": f"airflow.timetables.{name}", "__var": data})


def cron_trigger(expression, tz, length=0.0, run_immediately=False):
    return core("trigger.CronTriggerTimetable", {"expression": expression, "timezone": tz, "interval": length, "run_immediately": run_immediately})


def cron_interval(expression, tz):
    return core("interval.CronDataIntervalTimetable", {"expression": expression, "timezone": tz})


CRONS = [
    ("0 0 * * *", "UTC", PLAIN),
    ("@daily", "Europe/Zurich", SPRING),
    ("@daily", "Europe/Zurich", AUTUMN),
    ("30 2 * * *", "Europe/Zurich", SPRING),  # does not exist on one day
    ("30 2 * * *", "Europe/Zurich", AUTUMN),  # exists twice
    ("30 * * * *", "Europe/Zurich", SPRING),
    ("30 * * * *", "Europe/Zurich", "2025-10-25T22:00:00+00:00"),
    ("30 * * * *", "Europe/Zurich", "2025-03-29T22:00:00+00:00"),
    ("*/15 * * * *", "America/New_York", "2025-11-02T04:20:00+00:00"),
    ("*/15 * * * *", "America/New_York", "2025-03-09T06:20:00+00:00"),
    ("0 */2 * * *", "America/New_York", US_AUTUMN),
    ("0 */2 * * *", "Europe/Zurich", "2025-03-29T20:00:00+00:00"),
    ("0 1-3 * * *", "America/New_York", "2025-11-01T12:00:00+00:00"),
    ("0 1-3 * * *", "America/New_York", "2025-03-08T12:00:00+00:00"),
    ("15,45 1,2 * * *", "Australia/Lord_Howe", SOUTH),
    ("*/10 * * * *", "Australia/Lord_Howe", "2025-04-05T14:00:00+00:00"),
    # Every hour: time is counted, so that the answer after a change of the clock depends on where the count began.
    ("@hourly", "Australia/Lord_Howe", "2026-04-04T03:01:00+00:00"),
    ("* * * * 1", "Europe/Zurich", SPRING),
    ("0 3 * * 1-5", "America/New_York", US_SPRING),
    ("0 0 1 * *", "Asia/Kathmandu", PLAIN),
    ("0 12 31 * *", "UTC", PLAIN),
    ("0 12 29 2 *", "UTC", PLAIN),
    ("0 0 L * *", "UTC", PLAIN),
    ("0 9 15W * *", "Europe/Berlin", PLAIN),
    ("0 9 * * 5#2", "Europe/Berlin", PLAIN),
    ("0 9 * * L5", "Europe/Berlin", PLAIN),
    ("0 9 13 * 5", "Europe/Berlin", PLAIN),  # the 13th or a Friday
    ("0 9 */2 * 1", "UTC", PLAIN),
    ("0 22 * * sat-sun", "Asia/Tokyo", PLAIN),
    ("0 0 1 nov-feb *", "Asia/Tokyo", PLAIN),
    ("5-55/10 8-18/5 * * mon,wed,FRI", "America/Sao_Paulo", PLAIN),
    ("0 0 1 */3 *", "UTC", PLAIN),
    ("@quarterly", "Europe/London", SPRING),
    ("@yearly", "UTC", PLAIN),
    ("@weekly", "Pacific/Auckland", SOUTH),
    ("0 0 * * 7", "Pacific/Apia", PLAIN),
    ("*/20 * * * * */30", "UTC", PLAIN),
    ("0 0 1 1 * 0 2026-2028", "UTC", PLAIN),
    ("0 */6 * * *", 19800, PLAIN),
    ("0 0 * * *", -12600, PLAIN),
    ("59 23 31 12 *", "Africa/Cairo", PLAIN),
    ("0 0 ? * 2", "UTC", PLAIN),
    ("23 0-20/2 * * *", "Africa/Casablanca", "2025-02-21T00:00:00+00:00"),
    ("0 4 8-14 * *", "UTC", PLAIN),
    ("0 0 31 2 *", "UTC", PLAIN),  # never
    ("0 0,12 1 */2 *", "Europe/Dublin", AUTUMN),
]

DELTAS = [
    td(hours=1),
    td(days=1),
    td(minutes=7, seconds=30),
    td(days=1, microseconds=250000),
    relativedelta(months=1),
    relativedelta(days=2, hours=3),
    relativedelta(years=1),
    relativedelta(months=1, day=31),
    relativedelta(weekday=MO(+1), days=1),
    relativedelta(months=1, weekday=FR(-1), day=31),
]


def cases():
    for expression, tz, start in CRONS:
        yield cron_trigger(expression, tz), start
        yield cron_interval(expression, tz), start
    yield cron_trigger("0 6 * * *", "Europe/Zurich", 86400.0), SPRING
    yield cron_trigger("0 6 * * *", "UTC", {"months": 1}), PLAIN
    yield cron_trigger("0 6 * * *", "UTC", 0.0, True), PLAIN
    yield cron_trigger("0 6 * * *", "UTC", 0.0, 18000.0), PLAIN
    yield cron_trigger("0 6 * * *", "UTC", 0.0, 10.0), PLAIN
    for delta in DELTAS:
        yield trigger.DeltaTriggerTimetable(delta, interval=td(hours=2)), PLAIN
        yield interval.DeltaDataIntervalTimetable(delta), PLAIN
    yield core("trigger.MultipleCronTriggerTimetable", {"expressions": ["0 6 * * *", "30 */8 * * *", "0 0 1 * *"], "timezone": "Europe/Zurich", "interval": 3600.0, "run_immediately": False}), AUTUMN
    yield core("trigger.CronPartitionTimetable", {"expression": "0 0 * * *", "timezone": "Asia/Taipei", "run_immediately": False, "run_offset": -1, "key_format": "%Y-%m-%dT%H:%M:%S"}), PLAIN
    yield core("trigger.CronPartitionTimetable", {"expression": "0 5 * * *", "timezone": "UTC", "run_immediately": False, "run_offset": 2, "key_format": "%y%j %a %b %U %H"}), PLAIN
    yield simple.OnceTimetable(), PLAIN
    yield simple.ContinuousTimetable(), PLAIN
    yield simple.NullTimetable(), PLAIN
    for restrict in (False, True):
        yield events.EventsTimetable([pendulum.parse(PLAIN).add(days=n * n) for n in range(9)], restrict_to_events=restrict), PLAIN


@contextlib.contextmanager
def clock(now):
    with (
        mock.patch.object(interval, "utcnow", lambda: now),
        mock.patch.object(trigger, "utcnow", lambda: now),
        mock.patch.object(trigger.time, "time", lambda: now.timestamp()),
        mock.patch.object(timezone, "utcnow", lambda: now),
    ):
        yield


def iso(at):
    """UTC without its offset, to keep the file small."""
    return None if at is None else at.astimezone(datetime.timezone.utc).replace(tzinfo=None).isoformat()


def answer(info):
    """Start, end, and what differs from an ordinary run."""
    if info is None:
        return None
    if info.data_interval is None:
        return [None, None, iso(info.run_after), info.partition_key, iso(info.partition_date)]
    start, end = info.data_interval
    return [iso(start), iso(end)] + ([] if end == info.run_after else [iso(info.run_after)])


def ask(timetable, last, restriction, now):
    with clock(now):
        try:
            return timetable.next_dagrun_info_v2(last_dagrun_info=last, restriction=restriction)
        except Exception:  # SerializedDAG.next_dagrun_info logs it and schedules nothing
            return None


def walk(timetable, restriction, now, pause):
    """Twelve runs, each made at its time or later: every third time the scheduler was away for a while."""
    steps, last = [], None
    for number in range(12):
        info = ask(timetable, last, restriction, now)
        steps.append([iso(now), answer(info)])
        if info is None:
            break
        last = info
        if not restriction.catchup:
            now = max(now, info.run_after) + (pause if number % 3 == 2 else td(seconds=number % 2))
    return steps


def manual(timetable, start):
    found = []
    for hours in (0, 1.5, 25, 49.25, 24 * 40):
        after = start + td(hours=hours)
        try:
            inferred = timetable.infer_manual_data_interval(run_after=after)
        except Exception:
            continue
        found.append([iso(after), iso(inferred.start), iso(inferred.end)])
    return found


def between(timetable, start):
    """The runs of a backfill, as SerializedDAG.iter_dagrun_infos_between goes through them; at most fifteen."""
    found = []
    for earliest, latest in [(start.add(minutes=7), start.add(days=40)), (start, start)]:
        infos, info = [], None
        restriction = TimeRestriction(earliest, latest, catchup=True)
        try:
            if timetable.partitioned:
                infos = list(itertools.islice(timetable.iter_partition_dagrun_infos(earliest=earliest, latest=latest), 15))
            else:
                while len(infos) < 15 and (info := timetable.next_dagrun_info_v2(last_dagrun_info=info, restriction=restriction)):
                    infos.append(info)
        except Exception:  # it is logged there, and what was found counts
            pass
        found.append([iso(earliest), iso(latest), [answer(info) for info in infos]])
    return found


def rescheduled(timetable, start):
    """What comes after a run of another schedule, that the DAG had before."""
    last = DagRunInfo.interval(start.subtract(days=3, minutes=11), start.add(hours=9, minutes=17))
    found = []
    for catchup in (True, False):
        for now in (start.add(hours=10), start.add(days=5)):
            info = ask(timetable, last, TimeRestriction(start.subtract(days=30), None, catchup), now)
            found.append([catchup, iso(now), answer(info)])
    return {"last": answer(last), "earliest": iso(start.subtract(days=30)), "next": found}


def run_ids(timetable, start):
    after = start.add(hours=5, microseconds=250000)
    key = "a key" if timetable.partitioned else None
    return [
        [run_type.value, iso(at), key, re.sub(r"__\w{8}$", "__abcdefgh", timetable.generate_run_id(run_type=run_type, run_after=at, data_interval=DataInterval(start, at), partition_key=key))]
        for run_type in (DagRunType.SCHEDULED, DagRunType.MANUAL, DagRunType.ASSET_TRIGGERED)
        for at in (start, after)
    ]


vectors = []
for timetable, begin in cases():
    start = pendulum.parse(begin)
    walks = []
    for catchup, earliest, latest, now in [
        (True, start, None, start.add(days=400)),
        (True, start.add(minutes=7), start.add(days=3), start.add(days=400)),
        (True, None, None, start.add(minutes=13)),
        (False, start, None, start.add(hours=5, minutes=1)),
        (False, None, None, start),
        (False, start.add(days=2), start.add(days=60), start),
    ]:
        restriction = TimeRestriction(earliest, latest, catchup)
        steps = walk(timetable, restriction, now, td(days=3, hours=1))
        walks.append({"catchup": catchup, "earliest": iso(earliest), "latest": iso(latest), "steps": steps})
    serialized = encode_timetable(timetable)
    vectors.append({
        "serialized": {"type": serialized["__type"], "data": serialized["__var"]},
        "summary": timetable.summary,
        "typeName": timetable.type_name,
        "periodic": timetable.periodic,
        "canBeScheduled": timetable.can_be_scheduled,
        "activeRunsLimit": timetable.active_runs_limit,
        "partitioned": timetable.partitioned,
        "walks": walks,
        "manual": manual(timetable, start),
        "between": between(timetable, start) if timetable.periodic else [],
        "rescheduled": rescheduled(timetable, start),
        "runIds": run_ids(timetable, start),
    })
target = pathlib.Path(__file__).with_name("vectors.json")
target.write_text(json.dumps(vectors, separators=(",", ":")) + "\n")
print(len(vectors), "timetables,", sum(len(w["steps"]) for v in vectors for w in v["walks"]), "steps")
