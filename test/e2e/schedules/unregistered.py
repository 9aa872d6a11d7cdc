"""A timetable that no plugin registers."""

from timetables import Workdays

from airflow.sdk import DAG


class OfThisFile(Workdays):
    pass


with DAG("unregistered", schedule=OfThisFile()):
    pass
