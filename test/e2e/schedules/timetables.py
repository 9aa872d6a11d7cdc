"""A plugin: timetables of a user's own."""

import os
import time
from datetime import timedelta

from airflow.plugins_manager import AirflowPlugin
from airflow.timetables.base import DagRunInfo, DataInterval, Timetable


class EveryTwoSeconds(Timetable):
    """Runs every two seconds; its ids say which timetable made them."""

    description = "Every two seconds"

    def __init__(self, marks):
        self.marks = marks

    @property
    def summary(self):
        return "2 s"

    def serialize(self):
        return {"marks": self.marks}

    @classmethod
    def deserialize(cls, data):
        return cls(data["marks"])

    def infer_manual_data_interval(self, *, run_after):
        return DataInterval(run_after - timedelta(hours=1), run_after)

    def generate_run_id(self, *, run_type, run_after, data_interval, **extra):
        return f"{run_type}__every_two_{run_after:%H%M%S}"

    def next_dagrun_info(self, *, last_automated_data_interval, restriction):
        # Which process asked: never the control plane, and never the one that parsed.
        with open(self.marks, "a") as file:
            file.write(f"{os.getpid()}\n")
        now = restriction.earliest.now("UTC").replace(microsecond=0)
        start = last_automated_data_interval.end if last_automated_data_interval else now
        return DagRunInfo.interval(start, start + timedelta(seconds=2))


class Workdays(Timetable):
    """A day from Monday to Friday."""

    def infer_manual_data_interval(self, *, run_after):
        return DataInterval.exact(run_after)

    def next_dagrun_info(self, *, last_automated_data_interval, restriction):
        if restriction.earliest is None:
            return None
        start = restriction.earliest.start_of("day")
        if start < restriction.earliest:
            start = start.add(days=1)
        if last_automated_data_interval:
            start = max(start, last_automated_data_interval.end)
        while start.weekday() > 4:
            start = start.add(days=1)
        if restriction.latest and start > restriction.latest:
            return None
        return DagRunInfo.interval(start, start.add(days=1))


class Raising(Workdays):
    def next_dagrun_info(self, *, last_automated_data_interval, restriction):
        raise RuntimeError("no calendar for this year")


class Hanging(Workdays):
    def next_dagrun_info(self, *, last_automated_data_interval, restriction):
        while True:
            time.sleep(1)


class Invalid(Workdays):
    def validate(self):
        from airflow.exceptions import AirflowTimetableInvalid

        raise AirflowTimetableInvalid("only for the northern hemisphere")


class TimetablesPlugin(AirflowPlugin):
    name = "timetables_of_the_test"
    timetables = [EveryTwoSeconds, Workdays, Raising, Hanging, Invalid]
