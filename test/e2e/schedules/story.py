"""DAGs of the story that Airflow and Leoflow are both told; see story.ts."""

import pendulum
from timetables import Raising, Workdays

from airflow.sdk import DAG, Param, get_current_context, task

START = pendulum.datetime(2026, 1, 1, tz="UTC")
LATER = pendulum.datetime(2127, 1, 1, tz="UTC")
ZURICH = pendulum.datetime(2026, 3, 27, tz="Europe/Zurich")


@task
def say():
    context = get_current_context()
    return {
        "conf": context["dag_run"].conf,
        "who": context["params"]["who"],
        "type": context["dag_run"].run_type.value,
        "from": str(context["data_interval_start"]),
        "to": str(context["data_interval_end"]),
    }


@task
def fails_on_the_second():
    assert get_current_context()["logical_date"].day != 2, "not on the second"


who = {"who": Param("me", type="string")}

with DAG("story_past", schedule="@daily", start_date=LATER, catchup=False, max_active_runs=1, params=who):
    fails_on_the_second() >> say()

with DAG("story_depends", schedule="@daily", start_date=LATER, catchup=False, default_args={"depends_on_past": True}):
    fails_on_the_second()

with DAG("story_once", schedule="@once", start_date=START):
    fails_on_the_second()

with DAG("story_not_backwards", schedule="@daily", start_date=START, catchup=False, allowed_run_types=["scheduled", "manual"]):
    fails_on_the_second()

# Over the night in which Europe sets its clocks forward.
with DAG("story_dst", schedule="30 2 * * *", start_date=ZURICH, end_date=ZURICH.add(days=4), catchup=True, params=who):
    say()

with DAG("story_workdays", schedule=Workdays(), start_date=START.add(days=1), end_date=START.add(days=8), catchup=True, params=who):
    say()

with DAG("story_workdays_to_come", schedule=Workdays(), start_date=LATER, catchup=False, params=who):
    say()

with DAG("story_raising", schedule=Raising(), start_date=START, catchup=True, params=who):
    say()
