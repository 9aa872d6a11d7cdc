"""Runs that users, or new versions of the DAG, change. The scenarios are in scenarios.ts."""
from acts import NO_DELAY, START, act, empty, step
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, task, task_group


@task
def tries_many(ti):
    """Its length is the number of its try, times two."""
    return list(range(ti.try_number * 2))


@task
def shrinks(ti):
    return list(range(4 - ti.try_number))


@task
def show(x):
    return x


def once(ti):
    act("ok" if ti.try_number > 1 else "fail")
    return ti.try_number


with DAG("clear_failed", start_date=START, schedule=None):
    PythonOperator(task_id="f", python_callable=once) >> step("a") >> empty("b")
    step("beside")

with DAG("clear_all", start_date=START, schedule=None):
    step("a", "fail_until_2", retries=1) >> step("b") >> empty("c")

with DAG("clear_one_index", start_date=START, schedule=None):
    PythonOperator.partial(task_id="m", python_callable=lambda x, ti: [x, ti.try_number]).expand(op_args=[[1], [2], [3]]) >> step("after")

with DAG("clear_grows", start_date=START, schedule=None):
    show.expand(x=tries_many()) >> step("after")

with DAG("clear_shrinks", start_date=START, schedule=None):
    mapped = show.expand(x=shrinks())
    mapped >> step("after")
    mapped >> empty("after_done", trigger_rule="all_done")

with DAG("clear_group", start_date=START, schedule=None):

    @task_group
    def group(x):
        show(x) >> step("end")

    group.expand(x=shrinks()) >> step("after")

with DAG("clear_branch", start_date=START, schedule=None):

    @task.branch
    def choose(ti):
        return "a" if ti.try_number == 1 else "b"

    choose() >> [step("a"), step("b")] >> empty("join", trigger_rule="none_failed_min_one_success")

with DAG("clear_skipped", start_date=START, schedule=None):

    @task.branch
    def choose():
        return "a"

    choose() >> [step("a"), step("b")]

with DAG("mark_failed_as_success", start_date=START, schedule=None):
    step("a", "fail") >> step("b") >> empty("c")

with DAG("mark_success_as_failed", start_date=START, schedule=None):
    step("a") >> step("b")

with DAG("mark_run", start_date=START, schedule=None):
    step("a") >> step("waits", pool="no_such_pool") >> step("b")

with DAG("setup_cleared", start_date=START, schedule=None):
    s = step("s")
    s >> step("w") >> step("t").as_teardown(setups=s)
