"""DAGs that are of no use on Airflow: their callbacks never end, or need what only the test has."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.providers.smtp.notifications.smtp import SmtpNotifier
from airflow.sdk import DAG, DeadlineAlert, DeadlineReference, SyncCallback
from airflow.sdk.definitions.deadline import VariableInterval

from callback_functions import missed, note


def sleeps(context: dict[str, Any]) -> None:
    note(context, "sleeps", pid=os.getpid())
    time.sleep(600)


def waits(context: dict[str, Any]) -> None:
    """Until a file is there; the file is named like the notes."""
    path = context["dag_run"].conf["notes"]
    note(context, "begun")
    while not os.path.exists(f"{path}.go"):
        time.sleep(0.05)
    note(context, "done")


def fail() -> None:
    raise ValueError("<failed> & more")


def die() -> None:
    os.kill(os.getpid(), 9)


with DAG("cb_never_ends", schedule=None, on_success_callback=sleeps):
    EmptyOperator(task_id="ok")

with DAG("cb_tasks_never_end", schedule=None):
    PythonOperator(task_id="ok", python_callable=lambda: None, on_success_callback=sleeps)
    PythonOperator(task_id="fails", python_callable=fail, on_failure_callback=sleeps)

with DAG("cb_waits", schedule=None, on_success_callback=waits):
    EmptyOperator(task_id="ok")

with DAG(
    "cb_variable_interval",
    schedule=None,
    deadline=DeadlineAlert(
        name="by variable",
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=VariableInterval("cb_seconds"),
        callback=SyncCallback(missed, {"name": "by variable"}),
    ),
):
    PythonOperator(task_id="sleeps", python_callable=lambda: time.sleep(1))

MAIL = {"email": ["team@example.com", "lead@example.com"], "email_on_failure": True, "email_on_retry": True}
with DAG("cb_mail", schedule=None, default_args=MAIL):
    PythonOperator(task_id="fails", python_callable=fail, retries=1, retry_delay=timedelta(0))
    PythonOperator(task_id="dies", python_callable=die)
    PythonOperator(task_id="quiet", python_callable=fail, email_on_failure=False)
    PythonOperator(
        task_id="tells",
        python_callable=lambda: None,
        on_success_callback=SmtpNotifier(
            to="all@example.com", from_email="dag@example.com", subject="{{ ti.task_id }} of {{ dag.dag_id }} tells", html_content="<b>{{ ti.try_number }}</b>"
        ),
    )
