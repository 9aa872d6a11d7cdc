"""More of params, templates, XComs and the state store."""
import datetime

from acts import NO_DELAY, START, act, empty, step
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, Param, literal, task


@task
def see(params):
    return dict(params)


with DAG(
    "params_kinds",
    start_date=START,
    schedule=None,
    params={
        "plain": {"deep": [1, None]},
        "nullable": Param(None, type=["null", "string"]),
        "choice": Param("b", enum=["a", "b"]),
        "number": Param(1.5, type="number", minimum=1),
        "date": Param("2024-05-06", type="string", format="date"),
        "list": Param(["x"], type="array", items={"type": "string"}),
        "object": Param({"k": 1}, type=["object", "null"]),
        "const": Param("fixed", const="fixed"),
        "text": Param("abc", type="string", minLength=2, maxLength=5, pattern="^a"),
    },
):
    see()
    BashOperator(task_id="bash", bash_command="echo {{ params.plain.deep[0] }} {{ params.nullable }} {{ params.number }} {{ params.object.k }}")

with DAG("params_of_tasks", start_date=START, schedule=None, params={"a": "of the DAG", "b": Param(2, type="integer")}):
    see()
    see.override(task_id="overridden", params={"a": "of the task", "c": Param("new", type="string")})()
    see.override(task_id="wrong", params={"b": Param("no number", type="integer")})()
    BashOperator.partial(task_id="mapped", bash_command="echo {{ params.a }} {{ params.b }}", params={"a": "of the mapped"}).expand(env=[{}, {"A": "a"}])

with DAG("params_required", start_date=START, schedule=None, params={"needed": Param(type="string")}):
    see()

with DAG("templates_more", start_date=START, schedule=None, default_args={"retries": 0}, params={"text": "{{ not rendered }}"}):
    show = {"python_callable": lambda *args, **kwargs: [list(args), kwargs]}
    PythonOperator(task_id="literals", op_args=[literal("{{ run_id }}"), "{{ run_id }}"], **show)
    PythonOperator(task_id="nested", op_kwargs={"a": [{"b": ("{{ run_id }}", {"c": "{{ ti.task_id }}"})}]}, **show)
    PythonOperator(task_id="of_params", op_args=["{{ params.text }}"], **show)
    PythonOperator(task_id="error", op_args=["{{ 1 / 0 }}"], **show)
    PythonOperator(task_id="syntax", op_args=["{{ unclosed"], **show)
    PythonOperator(task_id="xcoms", op_args=["{{ ti.xcom_pull('nested') }}", "{{ ti.xcom_pull(task_ids='nothing') }}"], **show) << step("nothing_either")
    PythonOperator(task_id="filters", op_args=["{{ '2024-05-06' | replace('-', '') }}", "{{ [1, 2] | tojson }}", "{{ 'a' ~ 1 }}", "{% for n in [1, 2] %}{{ n }},{% endfor %}"], **show)
    BashOperator(task_id="of_file", bash_command="greet.sh", env={"WHO": "{{ ti.task_id }}"})
    BashOperator(task_id="of_missing_file", bash_command="no_such_file.sh")
    PythonOperator(task_id="native_task", op_args=["{{ [1, 2] }}"], **show)

with DAG("templates_native_more", start_date=START, schedule=None, render_template_as_native_obj=True, user_defined_macros={"pair": (1, "x"), "text": "007"}):
    types = {"python_callable": lambda *args: [[type(a).__name__, str(a)] for a in args]}
    PythonOperator(
        task_id="types",
        op_args=["{{ pair }}", "{{ text }}", "{{ text }} ", "{{ {'a': [1]} }}", "{{ 1.50 }}", "{{ '1' }}", "[1, {{ 2 }}]", "{{ dag_run.conf }}", "{{ True }}{{ False }}", ""],
        **types,
    )

    @task
    def a_list():
        return [1, {"k": None}]

    made = a_list()
    PythonOperator(task_id="pulled", op_args=["{{ ti.xcom_pull('a_list') }}", made], **types)
    BashOperator(task_id="bash", bash_command="echo '{{ [1, 2] }}' {{ text }}")

with DAG("templates_strict", start_date=START, schedule=None, template_undefined=__import__("jinja2").StrictUndefined, jinja_environment_kwargs={"trim_blocks": True}):
    BashOperator(task_id="undefined", bash_command="echo {{ nothing }}")
    BashOperator(task_id="defined", bash_command="echo {{ run_id }}")

with DAG("xcom_backend", start_date=START, schedule=None):

    @task
    def hides():
        return {"hide": [1, "two"]}

    @task
    def pushes(ti):
        ti.xcom_push(key="other", value={"hide": {"n": 5}})
        ti.xcom_push(key="plain", value={"show": 1})

    @task
    def finds(value, ti):
        return [value, ti.xcom_pull(task_ids="pushes", key="other"), ti.xcom_pull(task_ids="pushes", key="plain")]

    pushes() >> finds(hides())

    @task
    def hides_each(x):
        return {"hide": x}

    @task
    def listed(values):
        return list(values)

    each = hides_each.expand(x=[1, 2])
    listed(each)

    @task
    def see_each(x):
        return x

    see_each.expand(x=each)

with DAG("state_store", start_date=START, schedule=None, default_args={"retry_delay": NO_DELAY}):

    @task(retries=2)
    def counts(task_state_store, ti):
        tries = task_state_store.get("tries") or []
        task_state_store.set("tries", [*tries, ti.try_number])
        if ti.try_number < 3:
            raise ValueError("again")
        task_state_store.set("other", {"a": None, "b": "text"})
        task_state_store.delete("not_there")
        return [task_state_store.get("tries"), task_state_store.get("other"), task_state_store.get("nothing")]

    @task
    def clears(task_state_store):
        task_state_store.set("a", 1)
        task_state_store.set("b", 2)
        task_state_store.delete("a")
        before = [task_state_store.get("a"), task_state_store.get("b")]
        task_state_store.clear()
        return [before, task_state_store.get("b")]

    @task
    def each(x, task_state_store):
        seen = task_state_store.get("x")
        task_state_store.set("x", x)
        return [seen, task_state_store.get("x")]

    counts()
    clears()
    each.expand(x=["a", "b"])

with DAG("run_facts", start_date=START, schedule=None):

    @task
    def facts(dag_run, ti, logical_date=None, data_interval_start=None, ds=None, **context):
        return {
            "logical": str(logical_date),
            "start": str(data_interval_start),
            "ds": str(ds),
            "type": dag_run.run_type,
            "triggering": context.get("triggering_asset_events") and len(context["triggering_asset_events"]),
            "there": sorted(name for name in ("ts", "prev_data_interval_start_success", "inlets", "outlets", "expanded_ti_count", "test_mode") if name in context),
            "count": context.get("expanded_ti_count"),
        }

    facts()
    facts.override(task_id="mapped").partial().expand_kwargs([{}, {}])

with DAG("run_types_scheduled_only", start_date=START, end_date=START, schedule="@daily", catchup=True, allowed_run_types=["scheduled"]):
    step("a")

with DAG("run_types_manual_only", start_date=START, schedule=None, allowed_run_types=["manual"]):
    step("a")

with DAG("previous_runs", start_date=START, end_date=START + datetime.timedelta(days=2), schedule="@daily", catchup=True, max_active_runs=1):

    @task
    def before(ti, prev_data_interval_start_success=None, prev_data_interval_end_success=None):
        previous = ti.get_previous_ti()
        run = ti.get_previous_dagrun()
        return [
            str(prev_data_interval_start_success),
            str(prev_data_interval_end_success),
            previous and [previous.task_id, previous.state, previous.run_id],
            run and [run.run_id, run.state],
            ti.get_dr_count(dag_id=ti.dag_id, states=["success"]),
        ]

    before()
