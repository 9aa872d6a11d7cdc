"""Params, conf, templates, XComs."""
import datetime
from dataclasses import dataclass

from acts import NO_DELAY, START, empty, step
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, Param, Variable, task

with DAG("params_merge", start_date=START, schedule=None, params={"a": 1, "b": Param("x", type="string"), "c": [1, 2]}):

    @task
    def see(params):
        return dict(params)

    see()
    see.override(task_id="own", params={"a": 5, "d": True})()
    BashOperator(task_id="bash", bash_command="echo {{ params.a }} {{ params.b }} {{ params.c | length }}")

with DAG("params_invalid", start_date=START, schedule=None, params={"n": Param(5, type="integer", maximum=9)}):
    step("never_wrong")
    step("wrong_for_task", params={"n": Param(3, type="integer", minimum=4)})

with DAG("templates", start_date=START, schedule=None, user_defined_macros={"shout": lambda x: x.upper()}, user_defined_filters={"twice": lambda x: x * 2}):
    PythonOperator(
        task_id="strings",
        python_callable=lambda *args, **kwargs: [list(args), kwargs],
        op_args=["{{ dag.dag_id }}", "{{ task.task_id }}", "{{ run_id }}", ["{{ shout('a') }}", {"k": "{{ 'b' | twice }}"}]],
        op_kwargs={"x": "{{ dag_run.conf.get('y', 'nothing') }}", "number": 7, "var": "{{ var.json.conformance.greeting }}"},
        templates_dict={"t": "{{ ti.try_number }}"},
    )
    BashOperator(task_id="macros", bash_command="echo {{ macros.ds_add('2024-01-01', 5) }} {{ params | length }}")
    BashOperator(task_id="undefined", bash_command="echo {{ no_such_thing.at_all }}")
    BashOperator(task_id="missing_var", bash_command="echo {{ var.value.no_such_variable }}")
    BashOperator(task_id="env", bash_command="echo $A", env={"A": "{{ ti.task_id }}"})

with DAG("templates_dates", start_date=START, end_date=START, schedule="@daily", catchup=True):
    BashOperator(task_id="dates", bash_command="echo {{ ds }} {{ ds_nodash }} {{ ts }} {{ ts_nodash }} {{ data_interval_start }} {{ data_interval_end | ds }} {{ logical_date }}")
    BashOperator(task_id="prev", bash_command="echo {{ prev_start_date_success }} {{ prev_data_interval_start_success }}")

with DAG("templates_native", start_date=START, schedule=None, render_template_as_native_obj=True, params={"n": 3, "l": [1, 2]}):
    PythonOperator(task_id="types", python_callable=lambda *args: [[type(a).__name__, a] for a in args], op_args=["{{ params.n }}", "{{ params.l }}", "a{{ params.n }}", "{{ 1 == 1 }}", "{{ none }}"])
    BashOperator(task_id="text", bash_command="echo {{ params.n }}")

with DAG("conf", start_date=START, schedule=None, params={"a": "default"}):

    @task
    def see(dag_run, params):
        return {"conf": dag_run.conf, "params": dict(params), "type": dag_run.run_type, "run": dag_run.run_id}

    see()

with DAG("xcom_kinds", start_date=START, schedule=None):
    for name, value in {
        "integer": 1,
        "float": 1.0,
        "big": 2**70,
        "text": "grüße \U0001f600 \x7f",
        "true": True,
        "list": [1, [2.5, None], {"k": "v"}],
        "int_keys": {"1": 2, "nested": {"a": {}}},
        "tuple": (1, "b"),
        "set": {7},
        "date": datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.timezone.utc),
        "delta": datetime.timedelta(hours=1, microseconds=5),
        "nan": float("nan"),
        "infinity": float("inf"),
        "exponent": 1e22,
        "small": 1e-7,
        "empty_text": "",
        "empty_list": [],
        "zero": 0,
        "bytes": b"abc",
    }.items():
        task(task_id=name)(lambda value=value: value)()

    @task
    def back(ti):
        return [repr(ti.xcom_pull(task_ids=t)) for t in ["integer", "float", "big", "tuple", "set", "date", "delta", "nan", "empty_list", "zero", "exponent"]]

    made = back()
    for t in ["integer", "float", "big", "tuple", "set", "date", "delta", "nan", "empty_list", "zero", "exponent"]:
        made.operator.set_upstream(made.operator.dag.task_dict[t])

with DAG("xcom_pulls", start_date=START, schedule=None):

    @task(multiple_outputs=True)
    def many():
        return {"a": 1, "b": {"c": 2}}

    @task
    def pushes(ti):
        ti.xcom_push(key="k", value=[1, 2])
        ti.xcom_push(key="k", value=[3])
        return None

    @task
    def reads(a, whole, ti):
        return {
            "a": a,
            "whole": whole,
            "k": ti.xcom_pull(task_ids="pushes", key="k"),
            "missing": ti.xcom_pull(task_ids="pushes"),
            "default": ti.xcom_pull(task_ids="pushes", key="none", default="d"),
            "two": list(ti.xcom_pull(task_ids=["many", "pushes"], key="return_value")),
        }

    made = many()
    pushed = pushes()
    read = reads(made["a"], made)
    pushed >> read

    @task
    def missing_key(x):
        return x

    missing_key(made["nothing"])

with DAG("xcom_no_push", start_date=START, schedule=None):
    step("silent", do_xcom_push=False)
    BashOperator(task_id="bash_silent", bash_command="echo x", do_xcom_push=False)
    BashOperator(task_id="last_line", bash_command="echo x; echo; echo '  y  '")
    BashOperator(task_id="hollow", bash_command="true")

with DAG("xcom_between_runs", start_date=START, end_date=START + datetime.timedelta(days=2), schedule="@daily", catchup=True, max_active_runs=1):

    @task
    def count(ti, logical_date):
        before = ti.xcom_pull(task_ids="count", include_prior_dates=True)
        return [logical_date.day, before]

    count()

with DAG("variables", start_date=START, schedule=None):

    @task
    def use():
        value = Variable.get("conformance", deserialize_json=True)["greeting"]
        missing = Variable.get("no_such_variable", default="default")
        return [value, missing]

    use()

    @task
    def missing():
        return Variable.get("no_such_variable")

    missing()

with DAG("context", start_date=START, schedule=None, tags=["x"]):

    @task
    def see(ti, dag_run, task, dag, run_id, params, var):
        return {
            "ti": [ti.dag_id, ti.task_id, ti.run_id, ti.map_index, ti.try_number, ti.max_tries, ti.state],
            "run": [dag_run.run_type, dag_run.logical_date, dag_run.data_interval_start, dag_run.state],
            "task": [task.task_id, task.retries, sorted(task.upstream_task_ids)],
            "dag": [dag.dag_id, sorted(dag.tags)],
            "previous": ti.get_previous_dagrun() and 1,
        }

    see()
