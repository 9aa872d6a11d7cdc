"""DAGs whose tasks ask people. They also run on Airflow itself: see record.ts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.hitl import (
    ApprovalOperator,
    HITLBranchOperator,
    HITLEntryOperator,
    HITLOperator,
)
from airflow.providers.standard.triggers.hitl import HITLTrigger
from airflow.sdk import DAG, BaseNotifier, BaseOperator, Param, task
from airflow.sdk.execution_time.hitl import upsert_hitl_detail
from airflow.sdk.timezone import utcnow

ASK = {"subject": "About {{ dag.dag_id }}", "body": "Try {{ ti.try_number }}"}
AB = {"options": ["a", "b"]}
SOON = timedelta(seconds=1)


@task
def tells(answer: Any) -> dict[str, Any]:
    """All of an answer but its time."""
    by = answer["responded_by_user"]
    return {"chosen": answer["chosen_options"], "params": answer["params_input"], "answered": by is not None, "at": type(answer["responded_at"]).__name__}


class Notes(BaseNotifier):
    def notify(self, context: dict[str, Any]) -> None:
        context["ti"].xcom_push(key="notified", value=context["task"].subject)


with DAG("people_choose", schedule=None):
    one = HITLOperator(task_id="one", params={"n": Param(1, type="integer"), "s": "x"}, **ASK, **AB)
    tells(one.output)

with DAG("people_choose_several", schedule=None):
    several = HITLOperator(task_id="several", subject="Which?", options=["a", "b", "c"], multiple=True, defaults=["c"])
    tells(several.output)

for name, more in {
    "approve": {},
    "reject": {},
    "reject_fails": {"fail_on_reject": True},
    "reject_all": {"ignore_downstream_trigger_rules": True},
}.items():
    with DAG(f"people_{name}", schedule=None):
        asks = ApprovalOperator(task_id="asks", **ASK, **more)
        asks >> EmptyOperator(task_id="next") >> EmptyOperator(task_id="always", trigger_rule="all_done")
        asks >> EmptyOperator(task_id="beside", trigger_rule="none_failed")

with DAG("people_branch", schedule=None):
    branch = HITLBranchOperator(
        task_id="branch", subject="Where to?", options=["left", "Go right", "on"], multiple=True, options_mapping={"Go right": "right"}
    )
    branch >> [EmptyOperator(task_id="left"), EmptyOperator(task_id="right"), EmptyOperator(task_id="on")]

with DAG("people_enter", schedule=None):
    form = HITLEntryOperator(
        task_id="form", subject="Fill in", params={"name": Param("", type="string"), "count": Param(2, type="integer", minimum=0), "list": [1]}
    )
    tells(form.output)

with DAG("people_enter_invalid", schedule=None):
    # The API takes what does not fit the schema; the task then fails by it.
    invalid = HITLEntryOperator(task_id="form", subject="Fill in", params={"count": Param(2, type="integer", minimum=0)})
    tells(invalid.output)

with DAG("people_time_out", schedule=None):
    HITLOperator(task_id="asks", response_timeout=SOON, **ASK, **AB) >> EmptyOperator(task_id="after")

with DAG("people_time_out_default", schedule=None):
    late = HITLOperator(
        task_id="asks", response_timeout=SOON, defaults="b", params={"n": Param(1.5, type="number"), "o": {"k": 1.0}}, **ASK, **AB
    )
    tells(late.output)

with DAG("people_time_out_retry", schedule=None):
    HITLOperator(task_id="asks", response_timeout=SOON, retries=1, retry_delay=timedelta(0), **ASK, **AB)

with DAG("people_notified", schedule=None):
    HITLOperator(task_id="asks", response_timeout=SOON, defaults=["a"], notifiers=[Notes()], **ASK, **AB)

with DAG("people_notify_fails", schedule=None):

    class Fails(BaseNotifier):
        def notify(self, context: dict[str, Any]) -> None:
            raise ValueError("it cannot notify")

    HITLOperator(task_id="asks", response_timeout=SOON, defaults=["a"], notifiers=Fails(), **ASK, **AB)

with DAG("people_mapped", schedule=None):
    mapped = HITLOperator.partial(task_id="asks", **AB).expand(subject=["first", "second"])

    @task
    def chosen(answers: Any) -> list[str]:
        return [answer["chosen_options"][0] for answer in answers]

    chosen(mapped.output)

with DAG("people_cleared", schedule=None):
    again = HITLOperator(task_id="asks", **ASK, **AB)
    tells(again.output)

with DAG("people_while_it_runs", schedule=None):
    # The answer comes before the task waits for it.
    class Slow(BaseNotifier):
        def notify(self, context: dict[str, Any]) -> None:
            import time

            time.sleep(5)

    quick = HITLOperator(task_id="asks", notifiers=Slow(), **ASK, **AB)
    tells(quick.output)

with DAG("people_marked", schedule=None):
    HITLOperator(task_id="asks", **ASK, **AB) >> EmptyOperator(task_id="after")


class AsksByTrigger(BaseOperator):
    """As operators did before `awaiting_input`: a trigger looks for the answer."""

    def __init__(self, *, seconds: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seconds = seconds

    def execute(self, context: Any) -> None:
        asked = {"options": ["a", "b"], "defaults": ["b"], "multiple": False, "params": {"n": {"value": 1.5, "schema": {}, "description": None}}}
        upsert_hitl_detail(ti_id=context["ti"].id, subject="By trigger", **asked)
        until = utcnow() + timedelta(seconds=self.seconds)
        trigger = HITLTrigger(ti_id=context["ti"].id, timeout_datetime=until, poke_interval=0.5, **asked)
        self.defer(trigger=trigger, method_name="resume")

    def resume(self, context: Any, event: Any) -> Any:
        return {key: event[key] for key in ("chosen_options", "params_input", "timedout")}


with DAG("people_by_trigger", schedule=None):
    AsksByTrigger(task_id="asks", seconds=600)

with DAG("people_by_trigger_late", schedule=None):
    AsksByTrigger(task_id="asks", seconds=2)
