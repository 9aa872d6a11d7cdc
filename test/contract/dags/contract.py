"""Something of every kind the REST API shows."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.sdk import (
    DAG,
    Asset,
    AssetAlias,
    AsyncCallback,
    DeadlineAlert,
    DeadlineReference,
    Label,
    Metadata,
    Param,
    dag,
    task,
    task_group,
)

NUMBERS = Asset("contract_numbers", uri="s3://contract/numbers", group="contract", extra={"from": "here"})
ALIAS = AssetAlias("contract_alias")


async def told(**_):
    """What a deadline calls."""


@dag(
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    is_paused_upon_creation=True,
    tags=["contract", "daily"],
    description="Something of every kind",
    doc_md="# Contract",
    owner_links={"leo": "https://example.com/leo"},
    default_args={"owner": "leo", "retries": 1, "retry_delay": timedelta(0)},
    params={"count": Param(2, type="integer", minimum=1), "fails": False, "free": {"a": 1.5}},
    dagrun_timeout=timedelta(hours=1),
    deadline=DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT, interval=timedelta(days=1), callback=AsyncCallback(told)
    ),
)
def contract():
    @task
    def numbers(params: dict) -> list[int]:
        """Counts."""
        print("counting")
        return list(range(params["count"]))

    @task(map_index_template="number {{ number }}")
    def double(number: int) -> int:
        return number * 2

    @task_group(tooltip="Its parts")
    def parts():
        @task(outlets=[NUMBERS, ALIAS])
        def writes(outlet_events=None, ti=None):
            outlet_events[ALIAS].add(Asset("contract_found"), extra={"n": 1})
            ti.xcom_push(key="mixed", value={"text": "ä", "list": [1, 2.5, None, True]})
            yield Metadata(NUMBERS, {"rows": 3})

        @task(pool="contract_pool", priority_weight=3)
        def fails(params: dict) -> None:
            if params["fails"]:
                raise ValueError("this was asked for")

        writes() >> Label("then") >> fails()

    double.expand(number=numbers()) >> parts()


contract()

with DAG("contract_follows", schedule=NUMBERS | ALIAS, is_paused_upon_creation=False, tags=["contract"]):
    EmptyOperator(task_id="follow", inlets=[NUMBERS])

with DAG("contract_waits", schedule=NUMBERS & Asset("contract_never"), is_paused_upon_creation=False):
    EmptyOperator(task_id="wait")

with DAG("contract_asks", schedule=None, is_paused_upon_creation=False):
    HITLOperator(
        task_id="ask", subject="Which?", options=["a", "b"], defaults=["a"], params={"n": Param(1, type="integer")}
    )
    DateTimeSensorAsync(task_id="later", target_time="2099-01-01T00:00:00+00:00")
    TriggerDagRunOperator(task_id="starts", trigger_dag_id="contract_target")

with DAG("contract_target", schedule=None, is_paused_upon_creation=False):
    EmptyOperator(task_id="target")
