"""DAGs on timetables of a user's own."""

import os

import pendulum
from timetables import EveryTwoSeconds, Hanging, Raising, Workdays

from airflow.sdk import DAG, task

START = pendulum.datetime(2026, 1, 1, tz="UTC")


def one_task():
    @task
    def say(data_interval_start=None, data_interval_end=None):
        return f"{data_interval_start} to {data_interval_end}"

    say()


with DAG("every_two_seconds", schedule=EveryTwoSeconds(os.path.dirname(__file__) + "/../asked"), start_date=START, catchup=False):
    one_task()

with DAG("raising", schedule=Raising(), start_date=START, catchup=False):
    one_task()

with DAG("hanging", schedule=Hanging(), start_date=START, catchup=False):
    one_task()

with DAG("workdays", schedule=Workdays(), start_date=START, catchup=True, max_active_runs=2, end_date=START.add(days=11)):
    one_task()
