"""What fits nowhere else."""
import datetime
import decimal
import enum
import pathlib
import uuid
from collections import namedtuple

import pendulum
from acts import NO_DELAY, RULES, SERIAL, START, act, empty, step
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, Asset, BaseHook, TaskGroup, Variable, setup, task, task_group, teardown

with DAG("roots_with_rules", start_date=START, schedule=None):
    for rule in RULES:
        empty(f"empty_{rule}", trigger_rule=rule) >> empty(f"below_{rule}")
        step(f"real_{rule}", trigger_rule=rule)

with DAG("empties_that_run", start_date=START, schedule=None):
    EmptyOperator(task_id="calls_back", on_success_callback=lambda context: context["ti"].xcom_push(key="called", value=True)) >> empty("after")
    EmptyOperator(task_id="executes", on_execute_callback=lambda context: context["ti"].xcom_push(key="executing", value=True))
    EmptyOperator(task_id="fails_to_execute", pre_execute=lambda context: 1 / 0)
    EmptyOperator(task_id="updates", outlets=[Asset("odds_and_ends")])
    EmptyOperator(task_id="with_retries", retries=3) >> EmptyOperator(task_id="chained") >> step("real")

with DAG("hooks_around", start_date=START, schedule=None):

    def push(key):
        return lambda context, *results: context["ti"].xcom_push(key=key, value=[str(result) for result in results])

    PythonOperator(task_id="both", python_callable=lambda: "result", pre_execute=push("before"), post_execute=push("after"))
    PythonOperator(task_id="post_fails", python_callable=lambda: "result", post_execute=lambda context, result: 1 / 0)

with DAG("xcom_objects", start_date=START, schedule=None):
    Pair = namedtuple("Pair", ["a", "b"])

    class Colour(enum.Enum):
        RED = "red"

    for name, value in {
        "decimal": decimal.Decimal("1.50"),
        "uuid": uuid.UUID(int=7),
        "path": pathlib.PurePosixPath("/a/b"),
        "named": Pair(1, 2),
        "frozen": frozenset([3]),
        "naive": datetime.datetime(2024, 1, 2, 3, 4, 5),
        "day": datetime.date(2024, 1, 2),
        "moment": pendulum.datetime(2024, 3, 31, 3, tz="Europe/Berlin"),
        "zone": pendulum.timezone("Europe/Berlin"),
        "enum": Colour.RED,
        "function": print,
        "asset": Asset("an_asset", "s3://x"),
        "text_keys": {1: "a", None: "b", 1.5: "c"},
        "nested": {"when": [datetime.timedelta(days=1)], "also": {"t": (1, (2, 3))}},
        "surrogate": "\ud800",
    }.items():
        task(task_id=name)(lambda value=value: value)() >> empty(f"after_{name}")

with DAG("xcom_of_other_dags", start_date=START, schedule=None):

    @task
    def pulls(ti):
        return {
            "unknown_dag": ti.xcom_pull(dag_id="no_such_dag", task_ids="a"),
            "unknown_task": ti.xcom_pull(task_ids="no_such_task"),
            "unknown_run": ti.xcom_pull(task_ids="first", run_id="no_such_run"),
            "own": ti.xcom_pull(dag_id="xcom_of_other_dags", task_ids="first"),
            "many": list(ti.xcom_pull(task_ids=["first", "no_such_task"])),
            "nothing": ti.xcom_pull(),
        }

    step("first", value=[1]) >> pulls()

with DAG("variables_and_connections", start_date=START, schedule=None):

    @task
    def variables():
        Variable.set("odds_and_ends", {"a": 1}, serialize_json=True)
        before = Variable.get("odds_and_ends", deserialize_json=True)
        Variable.set("odds_and_ends", "text", description="d")
        after = Variable.get("odds_and_ends")
        Variable.delete("odds_and_ends")
        return [before, after, Variable.get("odds_and_ends", default=None)]

    @task
    def connections():
        connection = BaseHook.get_connection("files")
        return [connection.conn_type, connection.host, connection.extra_dejson]

    @task
    def no_connection():
        return BaseHook.get_connection("no_such_connection").host

    variables()
    connections()
    no_connection()
    BashOperator(task_id="templated", bash_command="echo {{ conn.files.conn_type }} {{ var.value.get('nothing', 'default') }}")

with DAG("decorators", start_date=START, schedule=None):

    @task.bash
    def shell(what):
        return f"echo {what} {{{{ ti.task_id }}}}"

    @task.bash(skip_on_exit_code=7)
    def skipping():
        return "exit 7"

    @task.branch
    def choose(which):
        return which

    @task(multiple_outputs=True)
    def outputs() -> dict[str, int]:
        return {"a": 1}

    @task(multiple_outputs=True)
    def no_outputs():
        return [1, 2]

    @task
    def typed() -> dict[str, int]:
        return {"b": 2}

    shell("one")
    shell.override(task_id="renamed").partial().expand(what=["x", "y"])
    skipping() >> empty("after_skip")
    choose("yes") >> [empty("yes"), empty("no")]
    outputs()
    no_outputs()
    typed()

with DAG("setups_in_contexts", start_date=START, schedule=None, **SERIAL):

    @setup
    def one():
        return 1

    @setup
    def two():
        return act("fail")

    @teardown
    def end(values):
        return values

    @teardown(on_failure_fail_dagrun=True)
    def end_badly():
        return act("fail")

    first, second = one(), two()
    with end([first, first]):
        step("work") >> step("more")
    with end_badly() as last:
        last.add_task(step("added"))
    second >> step("never")

with DAG("setups_of_groups", start_date=START, schedule=None, **SERIAL):
    with TaskGroup("outer") as outer:
        s = step("s").as_setup()
        with TaskGroup("inner") as inner:
            step("a") >> step("b", "fail")
        t = step("t").as_teardown(setups=s)
        s >> inner >> t
    outer >> step("after")
    outer >> step("after_all", trigger_rule="all_done")

with DAG("teardowns_in_a_row", start_date=START, schedule=None, **SERIAL):
    s1, s2 = step("s1"), step("s2")
    t1, t2 = step("t1", "fail"), step("t2")
    s1 >> s2 >> step("w", "skip") >> t2.as_teardown(setups=s2) >> t1.as_teardown(setups=s1)

with DAG("retries_in_groups", start_date=START, schedule=None):

    @task_group
    def group(outcome):
        first = PythonOperator(task_id="first", python_callable=act, op_args=[outcome], retries=1, retry_delay=NO_DELAY)
        first >> step("second", "fail_until_2", retries=1) >> empty("end", trigger_rule="all_done_min_one_success")

    group.expand(outcome=["ok", "fail_until_2", "fail"]) >> empty("after", trigger_rule="none_failed_min_one_success")

with DAG("arguments", start_date=START, schedule=None, params={"p": 1}):

    @task
    def kinds(a, /, b, *rest, c=3, ti=None, params=None, **others):
        return [a, b, list(rest), c, ti.task_id, dict(params), sorted(k for k in others if k in ("ds", "run_id", "x"))]

    kinds(1, 2, 3, c=4, x=5)

    @task
    def wrong(a):
        return a

    PythonOperator(task_id="too_few", python_callable=lambda a: a)
    PythonOperator(task_id="too_many", python_callable=lambda: 1, op_args=[1])
    PythonOperator(task_id="unknown", python_callable=lambda: 1, op_kwargs={"a": 1})

with DAG("mark_upstream", start_date=START, schedule=None):
    step("a", "fail") >> step("b") >> step("c")

with DAG("mark_in_time", start_date=START, schedule=None):
    step("a", "fail") >> step("b")

with DAG("clear_keeps_run", start_date=START, schedule=None):
    step("a", "fail_until_2") >> step("b")
