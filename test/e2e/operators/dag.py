"""Operators that reach out: other interpreters, SQL databases, HTTP and mail servers, started by operators.test.ts."""

from __future__ import annotations

import sys

from airflow.providers.common.sql.operators.sql import (
    SQLCheckOperator,
    SQLColumnCheckOperator,
    SQLExecuteQueryOperator,
)
from airflow.providers.common.sql.sensors.sql import SqlSensor
from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor
from airflow.providers.postgres.hooks.postgres import PostgresHook
from airflow.providers.smtp.notifications.smtp import SmtpNotifier
from airflow.providers.smtp.operators.smtp import EmailOperator
from airflow.providers.sqlite.hooks.sqlite import SqliteHook
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import ExternalPythonOperator, PythonVirtualenvOperator
from airflow.sdk import DAG, dag, task


def in_another_python(number):
    import sys

    print("counting in", sys.executable)
    return {"sum": number + 1, "prefix": sys.prefix}


@dag(schedule=None)
def interpreters():
    @task.virtualenv(requirements=["tabulate==0.9.0"], system_site_packages=False)
    def virtualenv():
        import tabulate

        print("made a venv")
        return tabulate.tabulate([["a", 1]], tablefmt="plain")

    @task.external_python(python=sys.executable)
    def external(text):
        return f"external saw {text!r}"

    @task.branch_virtualenv(requirements=[], system_site_packages=False)
    def branch():
        return "chosen"

    @task.bash(env={"GREETING": "hello"}, append_env=True)
    def bash():
        return 'echo "$GREETING {{ dag.dag_id }}"'

    external(virtualenv())
    branch() >> [EmptyOperator(task_id="chosen"), EmptyOperator(task_id="other")]
    bash()
    PythonVirtualenvOperator(
        task_id="with_airflow", python_callable=in_another_python, op_args=[4], system_site_packages=True
    )
    ExternalPythonOperator(
        task_id="classic_external", python=sys.executable, python_callable=in_another_python, op_kwargs={"number": 1}
    )
    BashOperator(task_id="skips", bash_command="exit 99")
    BashOperator(task_id="fails", bash_command="echo about to fail >&2; exit 3", retries=0)


def sql_dag(dag_id: str, conn_id: str, hook: type):
    with DAG(dag_id, schedule=None) as made:
        create = SQLExecuteQueryOperator(
            task_id="create",
            conn_id=conn_id,
            sql=["drop table if exists numbers", "create table numbers (n integer not null, word varchar(20))"],
            split_statements=True,
        )
        insert = SQLExecuteQueryOperator(
            task_id="insert",
            conn_id=conn_id,
            sql="insert into numbers values (1, 'one'), (2, 'two'), ({{ params.third }}, 'three')",
            params={"third": 3},
        )
        select = SQLExecuteQueryOperator(
            task_id="select", conn_id=conn_id, sql="select n, word from numbers order by n"
        )
        wait = SqlSensor(task_id="wait", conn_id=conn_id, sql="select count(*) from numbers where n = 3", poke_interval=1)
        check = SQLCheckOperator(task_id="check", conn_id=conn_id, sql="select count(*) = 3 from numbers")
        columns = SQLColumnCheckOperator(
            task_id="columns", conn_id=conn_id, table="numbers", column_mapping={"n": {"min": {"equal_to": 1}}}
        )

        @task
        def through_hook():
            return hook(conn_id).get_first("select sum(n) from numbers")[0]

        create >> insert >> wait >> [select, check, columns, through_hook()]
    return made


sqlite_story = sql_dag("sqlite_story", "lite_db", SqliteHook)
postgres_story = sql_dag("postgres_story", "pg_db", PostgresHook)

with DAG("http_story", schedule=None):
    (
        HttpSensor(
            task_id="up", http_conn_id="api", endpoint="health", response_check=lambda r: r.json()["ok"], poke_interval=1
        )
        >> HttpOperator(
            task_id="get",
            http_conn_id="api",
            endpoint="items/{{ params.item }}",
            method="GET",
            params={"item": 7},
            data={"q": "a b"},
            response_filter=lambda response: response.json(),
        )
        >> HttpOperator(task_id="deferred", http_conn_id="api", endpoint="slow", method="GET", deferrable=True)
    )
    HttpOperator(task_id="missing", http_conn_id="api", endpoint="missing", method="GET")

with DAG("mail_story", schedule=None):
    EmailOperator(
        task_id="send",
        conn_id="mail",
        from_email="leoflow@example.com",
        to="ana@example.com",
        subject="Run {{ run_id }}",
        html_content="<b>{{ var.value.region }}</b>",
    )
    BashOperator(
        task_id="notifies",
        bash_command="exit 1",
        retries=0,
        on_failure_callback=SmtpNotifier(
            smtp_conn_id="mail",
            from_email="leoflow@example.com",
            to="ben@example.com",
            subject="{{ ti.task_id }} failed",
            html_content="see the log",
        ),
    )

interpreters()
