"""Dynamic task mapping."""
from acts import NO_DELAY, START, act, double, empty, listed, numbers, show, step
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowSkipException


@task
def total(values):
    return sum(values)


with DAG("map_literal", start_date=START, schedule=None):
    total(double.expand(x=[1, 2, 3]))

with DAG("map_xcom", start_date=START, schedule=None):
    total(double.expand(x=numbers(4)))

with DAG("map_chain", start_date=START, schedule=None):
    total(double.override(task_id="again").expand(x=double.expand(x=numbers())))

with DAG("map_cross", start_date=START, schedule=None):
    show.override(task_id="literals").expand(a=[1, 2], b=["x", "y", "z"])
    show.override(task_id="mixed").expand(a=numbers(2), b=["x", "y"])
    show.override(task_id="two_xcoms").expand(a=numbers.override(task_id="n2")(2), b=numbers.override(task_id="n3")(3))
    show.override(task_id="three").partial(d=9).expand(a=[1, 2], b=[3], c=[4, 5])

with DAG("map_dicts", start_date=START, schedule=None):

    @task
    def a_dict():
        return {"one": 1, "two": 2}

    show.override(task_id="literal").expand(pair={"k": "v", "l": "w"})
    show.override(task_id="from_xcom").expand(pair=a_dict())
    show.override(task_id="crossed").expand(pair={"k": "v", "l": "w"}, n=[1, 2])

with DAG("map_kwargs", start_date=START, schedule=None):

    @task
    def rows():
        return [{"a": 1, "b": 2}, {"a": 3, "b": 4}]

    show.override(task_id="literal").expand_kwargs([{"a": 1}, {"a": 2, "b": 5}])
    show.override(task_id="from_xcom").expand_kwargs(rows())
    show.override(task_id="partial").partial(c=7).expand_kwargs(rows.override(task_id="more_rows")())
    show.override(task_id="of_args").expand_kwargs([{"a": numbers(2), "b": 1}, {"a": 3}])

with DAG("map_map", start_date=START, schedule=None):

    def skip_two(x):
        if x == 2:
            raise AirflowSkipException("no twos")
        return x + 100

    double.expand(x=numbers(4).map(skip_two))
    double.override(task_id="twice").expand(x=numbers.override(task_id="n")(2).map(lambda x: x + 1).map(lambda x: x * 10))
    double.override(task_id="raises").expand(x=numbers.override(task_id="m")(2).map(lambda x: 1 // x))

with DAG("map_zip_concat", start_date=START, schedule=None):
    a, b = numbers.override(task_id="a")(2), numbers.override(task_id="b")(3)
    show.override(task_id="zipped").expand(pair=a.zip(b))
    show.override(task_id="filled").expand(pair=a.zip(b, fillvalue=None))
    show.override(task_id="joined").expand(x=a.concat(b))
    show.override(task_id="zip_mapped").expand(pair=double.expand(x=a).zip(b))
    show.override(task_id="concat_mapped").expand(x=double.override(task_id="d2").expand(x=a).concat(b))

with DAG("map_zero", start_date=START, schedule=None):
    none = double.expand(x=numbers(0))
    total(none)
    none >> empty("after")
    none >> empty("after_none_failed", trigger_rule="none_failed")
    none >> empty("after_done", trigger_rule="all_done")
    double.override(task_id="literal").expand(x=[])
    double.override(task_id="of_zero").expand(x=double.override(task_id="zero2").expand(x=numbers.override(task_id="n0")(0)))

with DAG("map_partial_failure", start_date=START, schedule=None):
    done = PythonOperator.partial(task_id="some", python_callable=act, retries=1, retry_delay=NO_DELAY).expand(
        op_args=[["ok"], ["fail"], ["skip"], ["fail_until_2"], ["fail_for_good"]]
    )
    total.override(task_id="strict", trigger_rule="none_failed")(done.output)
    collect = PythonOperator(task_id="collect", python_callable=lambda values: list(values), op_args=[done.output], trigger_rule="all_done")
    show.override(task_id="on_what_is_there", trigger_rule="all_done").expand(x=done.output)

with DAG("map_some_skip", start_date=START, schedule=None):

    @task
    def odd_only(x):
        if x % 2 == 0:
            raise AirflowSkipException("even")
        return x

    odd = odd_only.expand(x=numbers(5))
    total.override(trigger_rule="none_failed")(odd)
    show.override(task_id="mapped_again", trigger_rule="none_failed").expand(x=odd)
    show.override(task_id="mapped_strict").expand(x=odd)

with DAG("map_some_none", start_date=START, schedule=None):

    @task
    def maybe(x):
        return x if x > 1 else None

    some = maybe.expand(x=numbers(4))
    show.override(task_id="again").expand(x=some)

    listed(some)

with DAG("map_index_template", start_date=START, schedule=None):
    double.override(task_id="rendered", map_index_template="number {{ task.op_kwargs['x'] }}").expand(x=[10, 20])

    @task(map_index_template="{{ my_name }}")
    def named(x):
        from airflow.sdk import get_current_context

        if x == 3:
            raise ValueError("unnamed")
        get_current_context()["my_name"] = f"name {x}"
        return x

    named.expand(x=[1, 2, 3])
    BashOperator.partial(task_id="bash", map_index_template="{{ task.env['N'] }}").expand(
        bash_command=["echo $N"], env=[{"N": "a"}, {"N": "b"}]
    )
    step("plain", map_index_template="never shown")
    double.override(task_id="bad_template", map_index_template="{{ 1 / 0 }}").expand(x=[1])

with DAG("map_classic", start_date=START, schedule=None):
    commands = task(task_id="commands")(lambda: ["echo one", "echo two", "exit 99"])()
    BashOperator.partial(task_id="bash").expand(bash_command=commands)
    BashOperator.partial(task_id="env", bash_command="echo {{ params.p }}-$X", params={"p": "q"}).expand(env=[{"X": "1"}, {"X": "2"}])
    PythonOperator.partial(task_id="op_kwargs", python_callable=lambda a, b: a + b).expand(op_kwargs=[{"a": 1, "b": 2}, {"a": 3, "b": 4}])
    PythonOperator.partial(task_id="kwargs", python_callable=lambda *args: list(args)).expand_kwargs([{"op_args": [1]}, {"op_args": [2, 3]}])

with DAG("map_too_long", start_date=START, schedule=None):
    long = numbers(1025)
    double.expand(x=long) >> empty("after")
    step("beside")

with DAG("map_not_a_sequence", start_date=START, schedule=None):

    @task
    def text():
        return "abc"

    @task
    def number():
        return 7

    @task
    def nothing():
        return None

    @task
    def a_set():
        return {1, 2}

    double.override(task_id="of_text").expand(x=text()) >> empty("after_text")
    double.override(task_id="of_number").expand(x=number()) >> empty("after_number")
    double.override(task_id="of_nothing").expand(x=nothing()) >> empty("after_nothing", trigger_rule="all_done")
    double.override(task_id="of_set").expand(x=a_set())

with DAG("map_kwargs_not_dicts", start_date=START, schedule=None):
    show.expand_kwargs(numbers(2)) >> empty("after", trigger_rule="all_done")

with DAG("map_missing_argument", start_date=START, schedule=None):

    @task
    def needs_two(a, b=5):
        return a + b

    needs_two.expand_kwargs([{"a": 1}, {"a": 2, "b": 3}])

with DAG("map_limits", start_date=START, schedule=None):
    double.override(task_id="one_at_a_time", max_active_tis_per_dag=1).expand(x=[1, 2, 3])
    double.override(task_id="two_a_run", max_active_tis_per_dagrun=2).expand(x=[1, 2, 3, 4])

with DAG("map_one_failed", start_date=START, schedule=None):
    some = PythonOperator.partial(task_id="some", python_callable=act).expand(op_args=[["ok"], ["fail"], ["ok"]])
    some >> step("alarm", trigger_rule="one_failed")
    some >> step("any", trigger_rule="one_success")
    some >> step("min_one", trigger_rule="all_done_min_one_success")

with DAG("map_multiple_outputs", start_date=START, schedule=None):

    @task(multiple_outputs=True)
    def parts(x):
        return {"low": x, "high": [x, x + 1]}

    made = parts(3)

    @task
    def high(values):
        return values

    double.expand(x=high(made["high"]))
    mapped = parts.override(task_id="mapped_parts").expand(x=[1, 2])

    listed(mapped["low"])

with DAG("map_pulls", start_date=START, schedule=None):
    source = double.expand(x=[1, 2, 3])

    @task
    def pull(ti):
        return {
            "all": list(ti.xcom_pull(task_ids="double")),
            "one": ti.xcom_pull(task_ids="double", map_indexes=1),
            "some": list(ti.xcom_pull(task_ids="double", map_indexes=[0, 2])),
            "none": ti.xcom_pull(task_ids="double", map_indexes=7),
            "unmapped": ti.xcom_pull(task_ids="double", map_indexes=-1),
        }

    source >> pull()

with DAG("map_slices", start_date=START, schedule=None):

    @task
    def slices(values):
        return {
            "first": values[0],
            "last": values[-1],
            "middle": list(values[1:3]),
            "backwards": list(values[::-1]),
            "length": len(values),
            "again": [v for v in values],
        }

    slices(double.expand(x=numbers(4)))

with DAG("map_retry_of_source", start_date=START, schedule=None):

    @task(retries=1, retry_delay=NO_DELAY)
    def grows(ti):
        ti.xcom_push(key="note", value=ti.try_number)
        if ti.try_number == 1:
            raise ValueError("too early")
        return ["a", "b"]

    show.expand(x=grows())

with DAG("map_wide_and_deep", start_date=START, schedule=None):
    level = numbers(3)
    for depth in range(3):
        level = double.override(task_id=f"level{depth}").expand(x=level)
    total(level)
    show.override(task_id="beside").expand(x=level, y=[1, 2])
