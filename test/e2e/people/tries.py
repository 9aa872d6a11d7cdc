"""DAGs whose tasks are retried by policies of their own. They also run on Airflow itself: see record.ts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, ExceptionRetryPolicy, RetryAction, RetryDecision, RetryPolicy, RetryRule, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout

HOUR = timedelta(hours=1)
NO_DELAY = timedelta(0)


class Custom(RetryPolicy):
    """Decides by what it is told."""

    def __init__(self, decision: Any) -> None:
        self.decision = decision

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any = None) -> RetryDecision:
        context["ti"].xcom_push(key=f"asked_{try_number}", value=[type(exception).__name__, try_number, max_tries])
        return self.decision(try_number)

    def serialize(self) -> dict[str, Any]:
        return {}


def wrong(try_number: int) -> RetryDecision:
    raise RuntimeError("the policy is wrong")


def raising(error: Any, until: int = 99) -> Any:
    def work(ti: Any = None) -> int:
        if ti.try_number < until:
            raise error
        return ti.try_number

    return work


def fails(task_id: str, error: BaseException, policy: RetryPolicy, until: int = 99, **more: Any) -> PythonOperator:
    given = {"retries": 2, "retry_delay": NO_DELAY, **more}
    return PythonOperator(task_id=task_id, python_callable=raising(error, until), retry_policy=policy, **given)


RULES = ExceptionRetryPolicy(
    rules=[
        RetryRule(exception=ValueError, action=RetryAction.FAIL, reason="never mind"),
        RetryRule(exception="builtins.KeyError", action=RetryAction.RETRY, retry_delay=NO_DELAY, reason="it comes back"),
        RetryRule(exception=[OSError, "builtins.ZeroDivisionError"], action=RetryAction.RETRY, retry_delay=NO_DELAY),
        RetryRule(exception=LookupError, action=RetryAction.FAIL, match_subclasses=False),
    ]
)

with DAG("tries_rules", schedule=None):
    fails("fails_at_once", ValueError("x"), RULES)
    fails("subclass_fails", UnicodeError("x"), RULES)
    fails("delay_overridden", KeyError("x"), RULES, until=2, retry_delay=HOUR)
    fails("in_a_list", ConnectionError("x"), RULES, until=3, retry_delay=HOUR)
    fails("by_name", ZeroDivisionError("x"), RULES, until=2, retry_delay=HOUR)
    fails("not_a_subclass", IndexError("x"), RULES, until=2)
    fails("exact_class", LookupError("x"), RULES)
    fails("no_rule", RuntimeError("x"), RULES, until=3)
    fails("no_retries_left", KeyError("x"), RULES, retries=1, retry_delay=HOUR)
    fails("no_retries", KeyError("x"), RULES, retries=0)
    fails("never_asked", AirflowFailException("x"), RULES)
    fails("never_asked_either", AirflowSensorTimeout("x"), RULES)

with DAG("tries_custom", schedule=None):
    fails("retries", ValueError("x"), Custom(lambda n: RetryDecision.retry(NO_DELAY, reason=f"after {n}")), until=3, retry_delay=HOUR)
    fails("fails", ValueError("x"), Custom(lambda n: RetryDecision.fail("enough")))
    fails("fails_later", ValueError("x"), Custom(lambda n: RetryDecision.fail("enough") if n == 2 else RetryDecision.retry()))
    fails("default", ValueError("x"), Custom(lambda n: RetryDecision.default()), until=2)
    fails("beyond", ValueError("x"), Custom(lambda n: RetryDecision.retry(NO_DELAY)), retries=1)
    fails("raises", ValueError("x"), Custom(wrong), until=2)

with DAG("tries_mapped", schedule=None):

    @task(retries=2, retry_delay=NO_DELAY, retry_policy=RULES)
    def mapped(n: int, ti: Any = None) -> int:
        if ti.try_number == 1:
            raise [KeyError("x"), ValueError("x")][n]
        return ti.try_number

    mapped.expand(n=[0, 1])
