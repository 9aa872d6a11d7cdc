"""Branches, short circuits, LatestOnly and what they leave behind."""
import datetime

from acts import START, act, empty, step
from airflow.providers.standard.operators.branch import BaseBranchOperator
from airflow.providers.standard.operators.latest_only import LatestOnlyOperator
from airflow.providers.standard.operators.python import BranchPythonOperator, PythonOperator, ShortCircuitOperator
from airflow.providers.standard.utils.skipmixin import SkipMixin
from airflow.sdk import DAG, BaseOperator, TaskGroup, task, task_group

with DAG("branch_one", start_date=START, schedule=None):
    b = BranchPythonOperator(task_id="b", python_callable=lambda: "left")
    left, right, join = step("left"), step("right"), empty("join", trigger_rule="none_failed_min_one_success")
    b >> [left, right] >> join
    right >> empty("right_end")
    [left, right] >> empty("strict_join")

for name, choice in {"many": ["a", "c"], "nothing": [], "none": None}.items():
    with DAG(f"branch_{name}", start_date=START, schedule=None):
        b = BranchPythonOperator(task_id="b", python_callable=lambda choice=choice: choice)
        b >> [step("a"), step("b1"), step("c")] >> empty("join", trigger_rule="none_failed")

with DAG("branch_unknown", start_date=START, schedule=None):
    BranchPythonOperator(task_id="b", python_callable=lambda: "nowhere") >> [step("a"), step("c")]

with DAG("branch_fails", start_date=START, schedule=None):
    BranchPythonOperator(task_id="b", python_callable=lambda: 1 / 0) >> [step("a"), empty("c", trigger_rule="all_done")]

with DAG("branch_to_group", start_date=START, schedule=None):
    b = BranchPythonOperator(task_id="b", python_callable=lambda: ["yes", "no.second"])
    with TaskGroup("yes") as yes:
        [step("y1"), step("y2")] >> step("y3")
    with TaskGroup("no") as no:
        first, second = step("first"), step("second")
        first >> step("third")
    b >> yes
    b >> [first, second]
    [yes, no] >> empty("join", trigger_rule="none_failed_min_one_success")

with DAG("branch_nested", start_date=START, schedule=None):
    outer = BranchPythonOperator(task_id="outer", python_callable=lambda: "inner")
    inner = BranchPythonOperator(task_id="inner", python_callable=lambda: "x")
    other = step("other")
    outer >> [inner, other]
    inner >> [step("x"), step("y")] >> empty("inner_join", trigger_rule="none_failed_min_one_success") >> empty("end", trigger_rule="none_failed")
    other >> empty("other_end") >> empty("far_end", trigger_rule="all_done")

with DAG("branch_skips_join_itself", start_date=START, schedule=None):
    b = BranchPythonOperator(task_id="b", python_callable=lambda: "a")
    a, join = step("a"), step("join")
    b >> [a, join]
    a >> join
    b >> step("c") >> join

with DAG("branch_class", start_date=START, schedule=None):

    class Choose(BaseBranchOperator):
        def choose_branch(self, context):
            return context["params"]["way"]

    Choose(task_id="b", params={"way": "two"}) >> [step("one"), step("two"), step("three")]

with DAG("branch_decorated_mapped", start_date=START, schedule=None):

    @task.branch
    def choose(n):
        return "even" if n % 2 == 0 else "odd"

    chosen = choose.expand(n=[1, 3])
    chosen >> [step("even"), step("odd")] >> empty("join", trigger_rule="none_failed_min_one_success")

with DAG("branch_in_mapped_group", start_date=START, schedule=None):

    @task.branch
    def pick(n):
        return "group.even" if n % 2 == 0 else "group.odd"

    @task_group
    def group(n):
        pick(n) >> [step("even"), step("odd")] >> empty("join", trigger_rule="none_failed_min_one_success")

    group.expand(n=[1, 2, 3]) >> step("after", trigger_rule="none_failed")

for name, condition in {"open": True, "closed": False}.items():
    for mode, ignore in {"hard": True, "soft": False}.items():
        with DAG(f"short_circuit_{name}_{mode}", start_date=START, schedule=None):
            sc = ShortCircuitOperator(
                task_id="sc", python_callable=lambda condition=condition: condition, ignore_downstream_trigger_rules=ignore
            )
            other = step("other")
            sc >> [step("a"), step("b")] >> empty("strict")
            sc >> step("c") >> empty("lenient", trigger_rule="all_done") >> empty("end", trigger_rule="none_failed")
            [sc, other] >> empty("both", trigger_rule="none_failed_min_one_success")
            other >> empty("unharmed")

with DAG("short_circuit_decorated", start_date=START, schedule=None):

    @task.short_circuit
    def is_full(values):
        return values

    is_full.override(task_id="full")([1, 2]) >> step("when_full")
    is_full.override(task_id="hollow")([]) >> step("when_hollow") >> step("later", trigger_rule="all_done")

with DAG("short_circuit_setup", start_date=START, schedule=None):
    s = step("s")
    sc = ShortCircuitOperator(task_id="sc", python_callable=lambda: False)
    s >> sc >> step("w") >> step("t").as_teardown(setups=s)

with DAG("latest_only_scheduled", start_date=START, end_date=START + datetime.timedelta(days=1), schedule="@daily", catchup=True):
    latest = LatestOnlyOperator(task_id="latest")
    latest >> step("a") >> empty("b", trigger_rule="all_done")
    step("free") >> empty("c", trigger_rule="none_failed")

with DAG("latest_only_manual", start_date=START, schedule=None):
    LatestOnlyOperator(task_id="latest") >> step("a") >> empty("b", trigger_rule="all_done")

with DAG("skip_mixin", start_date=START, schedule=None):

    class SkipSome(BaseOperator, SkipMixin):
        def execute(self, context):
            dag_run = context["dag_run"]
            tasks = [t for t in self.get_direct_relatives(upstream=False) if t.task_id.startswith("no")]
            self.skip(ti=context["ti"], tasks=tasks)
            return dag_run.run_id

    SkipSome(task_id="skips") >> [step("no1"), step("yes1"), step("no2")] >> empty("join", trigger_rule="none_failed_min_one_success")

with DAG("branch_then_retry", start_date=START, schedule=None):

    def choose_later(ti):
        if ti.try_number < 2:
            raise ValueError("not yet")
        return "b"

    BranchPythonOperator(task_id="x", python_callable=choose_later, retries=1, retry_delay=datetime.timedelta(0)) >> [
        step("a"),
        step("b", "fail_until_2", retries=2),
    ]
