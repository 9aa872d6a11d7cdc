"""What the tasks of these DAG files do: come to an outcome that is asked for, quickly and always the same."""
import datetime
from itertools import count

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

START = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)
NO_DELAY = datetime.timedelta(0)
RULES = [
    "all_success",
    "all_failed",
    "all_done",
    "all_done_min_one_success",
    "one_success",
    "one_failed",
    "one_done",
    "none_failed",
    "none_failed_min_one_success",
    "none_skipped",
    "all_skipped",
    "always",
]


_turns = count(100_000, -1)
# One task at a time, in the order of turn(): which upstream ends first makes a difference to some trigger rules.
SERIAL = {"max_active_tasks": 1}


def turn():
    """Arguments of a task that goes before those that are defined later."""
    return {"priority_weight": next(_turns), "weight_rule": "absolute"}


def act(outcome="ok", value=None):
    """ok, none, fail, fail_for_good, skip, or fail_until_N: succeeds in its try N."""
    if outcome == "fail":
        raise ValueError("asked to fail")
    if outcome == "fail_for_good":
        raise AirflowFailException("asked to fail for good")
    if outcome == "skip":
        raise AirflowSkipException("asked to skip")
    if outcome.startswith("fail_until_") and get_current_context()["ti"].try_number < int(outcome.rsplit("_", 1)[1]):
        raise ValueError("asked to fail at first")
    return None if outcome == "none" else value if value is not None else outcome


def step(task_id, outcome="ok", value=None, **arguments):
    return PythonOperator(
        task_id=task_id,
        python_callable=act,
        op_kwargs={"outcome": outcome, "value": value},
        **{"retry_delay": NO_DELAY, **turn(), **arguments},
    )


def empty(task_id, **arguments):
    return EmptyOperator(task_id=task_id, **arguments)


LAST = START + datetime.timedelta(days=2)
DAILY = {"start_date": START, "end_date": LAST, "schedule": "@daily", "catchup": True, "max_active_runs": 4}


def act_by_day(plan):
    """plan: outcome by the day of the logical date."""
    return act(plan.get(get_current_context()["logical_date"].day, "ok"))


def by_day(task_id, plan, **arguments):
    return PythonOperator(task_id=task_id, python_callable=act_by_day, op_args=[plan], **arguments)


def call(task_id, outcome="ok", **arguments):
    return TriggerDagRunOperator(
        task_id=task_id,
        trigger_dag_id="child",
        trigger_run_id=f"{{{{ dag.dag_id }}}}.{task_id}",
        conf={"outcome": outcome, "by": "{{ dag.dag_id }}"},
        poke_interval=1,
        **arguments,
    )


@task
def numbers(n=3):
    return list(range(n))


@task
def double(x):
    return x * 2


@task
def show(**values):
    return values


@task
def listed(values):
    return list(values)


@task
def do(outcome):
    return act(outcome)
