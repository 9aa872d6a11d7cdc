"""How a try ends, and what comes after it."""
import datetime
import os

from acts import NO_DELAY, START, act, empty, step
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException, AirflowTaskTimeout

with DAG("retries", start_date=START, schedule=None, default_args={"retries": 2, "retry_delay": NO_DELAY}):
    step("at_once")
    step("second_try", "fail_until_2")
    step("third_try", "fail_until_3") >> empty("after_third")
    step("never", "fail") >> empty("after_never") >> step("end", trigger_rule="all_done")
    step("for_good", "fail_for_good")
    step("skipped", "skip")
    step("none", "none")

with DAG("retries_delayed", start_date=START, schedule=None):
    second = datetime.timedelta(seconds=1)
    step("constant", "fail_until_2", retries=1, retry_delay=second)
    step("exponential", "fail_until_3", retries=3, retry_delay=datetime.timedelta(milliseconds=500), retry_exponential_backoff=True)
    step("capped", "fail_until_3", retries=2, retry_delay=datetime.timedelta(hours=1), max_retry_delay=second, retry_exponential_backoff=True)

with DAG("xcoms_of_tries", start_date=START, schedule=None):

    @task(retries=2, retry_delay=NO_DELAY)
    def pushes(ti):
        before = ti.xcom_pull(task_ids="pushes", key=f"try_{ti.try_number - 1}")
        ti.xcom_push(key=f"try_{ti.try_number}", value=ti.try_number)
        if ti.try_number < 3:
            raise ValueError("again")
        return {"seen": before, "try": ti.try_number, "max": ti.max_tries}

    pushes()

with DAG("exits", start_date=START, schedule=None):
    BashOperator(task_id="bash_ok", bash_command="echo one; echo two")
    BashOperator(task_id="bash_fails", bash_command="exit 1")
    BashOperator(task_id="bash_skips", bash_command="exit 99")
    BashOperator(task_id="bash_skips_on", bash_command="exit 7", skip_on_exit_code=[6, 7])
    BashOperator(task_id="bash_retries", bash_command="exit $(( {{ ti.try_number }} < 2 ))", retries=1, retry_delay=NO_DELAY)
    PythonOperator(task_id="hard_exit", python_callable=lambda: os._exit(3))
    PythonOperator(task_id="system_exit", python_callable=lambda: exit(3))
    PythonOperator(task_id="system_exit_zero", python_callable=lambda: exit(0))
    PythonOperator(task_id="killed", python_callable=lambda: os.kill(os.getpid(), 9), retries=1, retry_delay=NO_DELAY)

with DAG("exceptions", start_date=START, schedule=None, default_args={"retries": 1, "retry_delay": NO_DELAY}):

    def throw(exception):
        raise exception

    for error in [
        AirflowException("e"),
        AirflowFailException("e"),
        AirflowSkipException("e"),
        AirflowTaskTimeout("e"),
        KeyboardInterrupt("e"),
        ZeroDivisionError("e"),
    ]:
        PythonOperator(task_id=type(error).__name__, python_callable=throw, op_args=[error])

    @task
    def not_json():
        return object()

    not_json()

with DAG("execution_timeout", start_date=START, schedule=None):
    import time

    PythonOperator(
        task_id="slow", python_callable=lambda: time.sleep(60), execution_timeout=datetime.timedelta(seconds=1), retries=1, retry_delay=NO_DELAY
    ) >> empty("after")
    step("quick", execution_timeout=datetime.timedelta(seconds=30))

with DAG("fail_fast", start_date=START, schedule=None, fail_fast=True):
    f = step("f", "fail", retries=1)
    s = step("s")
    t = step("t")
    s >> f >> step("below")
    f >> step("joined") >> t.as_teardown(setups=s.as_setup())

with DAG("fail_fast_beside", start_date=START, schedule=None, fail_fast=True):
    first = step("first")
    f = PythonOperator(task_id="f", python_callable=lambda: [__import__("time").sleep(4), 1 / 0])
    first >> f
    f >> step("x") >> step("y")
    # Waits longer than f takes.
    slow = PythonOperator(task_id="waits", python_callable=lambda: __import__("time").sleep(30))
    first >> slow >> step("after_waits")

with DAG("fail_fast_all_well", start_date=START, schedule=None, fail_fast=True):
    step("a") >> step("b", "skip") >> step("c")

with DAG("retry_then_upstream_failed", start_date=START, schedule=None):
    up = step("up", "fail", retries=1)
    up >> empty("a") >> empty("b") >> step("c", trigger_rule="one_failed")
    up >> step("d", trigger_rule="all_failed")

with DAG("callbacks", start_date=START, schedule=None, default_args={"retry_delay": NO_DELAY}):

    def note(what):
        return lambda context: context["ti"].xcom_push(key=what, value=context["ti"].task_id)

    every = {f"on_{what}_callback": note(what) for what in ["execute", "success", "failure", "retry", "skipped"]}
    step("well", **every)
    step("fails", "fail", **every)
    step("retries", "fail_until_2", retries=1, **every)
    step("skips", "skip", **every)
    step("raises", on_success_callback=lambda context: 1 / 0)

with DAG("run_timeout", start_date=START, schedule=None, dagrun_timeout=datetime.timedelta(seconds=6)):
    PythonOperator(task_id="slow", python_callable=lambda: __import__("time").sleep(90)) >> step("after")
