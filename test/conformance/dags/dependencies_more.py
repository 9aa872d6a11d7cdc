"""More of what holds tasks back, skips them or stops them."""
import datetime

from acts import DAILY, NO_DELAY, SERIAL, START, act, by_day, empty, step
from airflow.providers.standard.operators.datetime import BranchDateTimeOperator
from airflow.providers.standard.operators.latest_only import LatestOnlyOperator
from airflow.providers.standard.operators.python import BranchPythonOperator, PythonOperator, ShortCircuitOperator
from airflow.providers.standard.operators.weekday import BranchDayOfWeekOperator
from airflow.providers.standard.utils.skipmixin import SkipMixin
from airflow.sdk import DAG, BaseOperator, TaskGroup, get_current_context, setup, task, task_group, teardown

with DAG("conditions", start_date=START, schedule=None, params={"n": 3}):

    @task.run_if(lambda context: context["params"]["n"] > 5, skip_message="too small")
    @task
    def large():
        return "large"

    @task.skip_if(lambda context: (context["params"]["n"] > 5, "too large"))
    @task
    def small():
        return "small"

    @task.run_if(lambda context: 1 / 0)
    @task(retries=1, retry_delay=NO_DELAY)
    def broken():
        return "broken"

    @task.skip_if(lambda context: context["ti"].map_index == 1)
    @task
    def some(x):
        return x

    large() >> empty("after_large")
    small() >> empty("after_small")
    broken() >> empty("after_broken")
    some.expand(x=["a", "b", "c"]) >> empty("after_some", trigger_rule="none_failed")

with DAG("branch_of_dates", start_date=START, schedule=None):
    day = {"use_task_logical_date": True, "follow_task_ids_if_true": "yes", "follow_task_ids_if_false": "no"}
    BranchDateTimeOperator(
        task_id="in_2024", target_lower=datetime.datetime(2024, 1, 1), target_upper=datetime.datetime(2025, 1, 1), **day
    ) >> [empty("yes"), empty("no")]
    BranchDayOfWeekOperator(
        task_id="weekend", week_day={"Saturday", "Sunday"}, use_task_logical_date=True, follow_task_ids_if_true="rest", follow_task_ids_if_false=["work", "more"]
    ) >> [empty("rest"), empty("work"), empty("more")]

with DAG("branch_to_setups", start_date=START, schedule=None, **SERIAL):
    b = BranchPythonOperator(task_id="b", python_callable=lambda: "s1")
    s1, s2 = step("s1"), step("s2")
    b >> [s1, s2]
    s1 >> step("w1") >> step("t1").as_teardown(setups=s1)
    s2 >> step("w2") >> step("t2").as_teardown(setups=s2)

with DAG("branch_skips_all_except", start_date=START, schedule=None):

    class Choose(BaseOperator, SkipMixin):
        def execute(self, context):
            self.skip_all_except(context["ti"], branch_task_ids={"a", "inner.x"})

    with TaskGroup("inner") as inner:
        x, y = step("x"), step("y")
    Choose(task_id="choose") >> [step("a"), step("b"), x, y] >> empty("join", trigger_rule="none_failed_min_one_success")

with DAG("branch_follows_itself", start_date=START, schedule=None):
    outer = BranchPythonOperator(task_id="outer", python_callable=lambda: ["inner", "a"])
    inner = BranchPythonOperator(task_id="inner", python_callable=lambda: "b")
    a, b, c = step("a"), step("b"), step("c")
    outer >> [inner, a, b]
    inner >> [b, c]
    [a, b, c] >> empty("join", trigger_rule="none_failed")

with DAG("branch_with_rules", start_date=START, schedule=None, **SERIAL):
    failing, skipping = step("failing", "fail"), step("skipping", "skip")
    chosen = BranchPythonOperator(task_id="chosen", python_callable=lambda: "a", trigger_rule="all_done")
    [failing, skipping] >> chosen >> [empty("a"), empty("b", trigger_rule="all_done"), empty("c", trigger_rule="always")]
    unreached = BranchPythonOperator(task_id="unreached", python_callable=lambda: "d")
    skipping >> unreached >> [empty("d"), empty("e", trigger_rule="all_done")]

with DAG("short_circuit_over_join", start_date=START, schedule=None):
    hard = ShortCircuitOperator(task_id="hard", python_callable=lambda: False)
    soft = ShortCircuitOperator(task_id="soft", python_callable=lambda: False, ignore_downstream_trigger_rules=False)
    soft >> [empty("s1"), empty("s2", trigger_rule="all_done")] >> empty("s_join", trigger_rule="none_failed") >> empty("s_end", trigger_rule="always")
    with TaskGroup("group") as group:
        step("g1") >> empty("g2", trigger_rule="all_done")
    hard >> group >> empty("h_end", trigger_rule="always")

with DAG("short_circuit_retries", start_date=START, schedule=None):

    def later(ti):
        if ti.try_number == 1:
            raise ValueError("not yet")
        return ti.try_number > 2

    ShortCircuitOperator(task_id="sc", python_callable=later, retries=1, retry_delay=NO_DELAY) >> step("a")

with DAG("latest_only_mapped", start_date=START, end_date=START, schedule="@daily", catchup=True):

    @task
    def show(x):
        return x

    latest = LatestOnlyOperator(task_id="latest")
    latest >> show.expand(x=[1, 2]) >> empty("after", trigger_rule="none_failed")

with DAG("fail_fast_mapped", start_date=START, schedule=None, fail_fast=True, **SERIAL):
    first = PythonOperator.partial(task_id="some", python_callable=act).expand(op_args=[["fail"], ["ok"], ["ok"]])
    first >> empty("after")

with DAG("fail_fast_teardowns", start_date=START, schedule=None, fail_fast=True, **SERIAL):
    s, t = step("s"), step("t")
    s >> step("w", "fail") >> step("w2") >> t.as_teardown(setups=s)
    t >> step("after")

with DAG("fail_fast_teardown_fails", start_date=START, schedule=None, fail_fast=True, **SERIAL):
    s, t = step("s"), step("t", "fail")
    w = step("w")
    s >> w >> t.as_teardown(setups=s)
    w >> step("later") >> empty("even_later")

with DAG("fail_fast_skips", start_date=START, schedule=None, fail_fast=True, **SERIAL):
    first = step("first")
    first >> step("k", "skip") >> empty("a")
    first >> step("f", "fail") >> empty("b")
    first >> step("later") >> step("even_later")

with DAG("past_first_ignored", **DAILY):
    step("a", depends_on_past=True, ignore_first_depends_on_past=True) >> step("b")

with DAG("past_starts_later", **DAILY):
    step("a", depends_on_past=True, start_date=START + datetime.timedelta(days=1)) >> step("b")
    step("beside")

with DAG("past_ends_earlier", **DAILY):
    step("a", depends_on_past=True, end_date=START + datetime.timedelta(days=1)) >> empty("b", trigger_rule="all_done")

with DAG("past_mapped_well", **DAILY):
    PythonOperator.partial(task_id="m", python_callable=act, depends_on_past=True).expand(op_args=[["ok"], ["skip"]]) >> step("after", depends_on_past=True)

with DAG("past_wait_for_downstream_mapped", **DAILY):
    a = step("a", wait_for_downstream=True)
    a >> PythonOperator.partial(task_id="m", python_callable=act).expand(op_args=[["ok"], ["skip"]]) >> step("end")

with DAG("past_wait_for_downstream_skipped", **DAILY):
    a = step("a", wait_for_downstream=True)
    a >> [by_day("b", {2: "skip"}), step("c")] >> empty("d")

with DAG("past_and_branches", **DAILY):

    @task.branch
    def choose():
        return "odd" if get_current_context()["logical_date"].day % 2 else "even"

    choose() >> [step("odd", depends_on_past=True), step("even", depends_on_past=True)] >> empty("join", trigger_rule="none_failed", depends_on_past=True)

with DAG("past_with_setup", **DAILY, **{"max_active_tasks": 1}):
    s, t = step("s", depends_on_past=True), step("t", depends_on_past=True)
    s >> by_day("w", {1: "skip"}) >> t.as_teardown(setups=s)

with DAG("retry_policies", start_date=START, schedule=None):
    from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule
    from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy

    class Own(RetryPolicy):
        def evaluate(self, exception, try_number, max_tries, context=None):
            if "hopeless" in str(exception):
                return RetryDecision.fail(reason="it said so")
            return RetryDecision.retry(delay=NO_DELAY) if try_number < 2 else RetryDecision.default()

    class Broken(RetryPolicy):
        def evaluate(self, exception, try_number, max_tries, context=None):
            raise KeyError("the policy itself fails")

    rules = ExceptionRetryPolicy(
        rules=[
            RetryRule(exception=ValueError, action=RetryAction.RETRY, retry_delay=NO_DELAY),
            RetryRule(exception="builtins.KeyError", action=RetryAction.FAIL, reason="no use"),
            RetryRule(exception=[OSError, ZeroDivisionError], retry_delay=datetime.timedelta(milliseconds=10)),
        ]
    )

    def throw(error, until=9):
        if get_current_context()["ti"].try_number < until:
            raise error

    hour = {"retries": 2, "retry_delay": datetime.timedelta(hours=1)}
    quick = {"retries": 2, "retry_delay": NO_DELAY}
    for name, error, until in [
        ("value", ValueError("x"), 2),
        ("values", ValueError("x"), 9),
        ("key", KeyError("x"), 9),
        ("os", FileNotFoundError("x"), 3),
        ("zero", ZeroDivisionError("x"), 2),
    ]:
        PythonOperator(task_id=name, python_callable=throw, op_args=[error, until], retry_policy=rules, **hour)
    PythonOperator(task_id="no_rule", python_callable=throw, op_args=[RuntimeError("x")], retry_policy=rules, **quick)
    PythonOperator(task_id="own_hopeless", python_callable=throw, op_args=[RuntimeError("hopeless")], retry_policy=Own(), **quick)
    PythonOperator(task_id="own_retries", python_callable=throw, op_args=[RuntimeError("x"), 2], retry_policy=Own(), **hour)
    PythonOperator(task_id="own_default", python_callable=throw, op_args=[RuntimeError("x"), 3], retry_policy=Own(), **quick)
    PythonOperator(task_id="broken", python_callable=throw, op_args=[RuntimeError("x"), 2], retry_policy=Broken(), **quick)
    PythonOperator(task_id="no_retries", python_callable=throw, op_args=[ValueError("x")], retry_policy=rules)
