"""More of dynamic task mapping: what is mapped over, and what is made of it."""
from acts import NO_DELAY, SERIAL, START, act, double, empty, listed, numbers, show, step
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.python import BranchPythonOperator, PythonOperator, ShortCircuitOperator
from airflow.sdk import DAG, Param, task, task_group
from airflow.sdk.exceptions import AirflowSkipException


@task
def given(value):
    return value


with DAG("map_zip_of_maps", start_date=START, schedule=None):
    a, b = numbers.override(task_id="a")(2), numbers.override(task_id="b")(3)
    show.override(task_id="zip_of_maps").expand(x=a.map(lambda x: x + 1).zip(b.map(lambda x: -x)))
    show.override(task_id="map_of_zip").expand(x=a.zip(b, fillvalue=9).map(lambda pair: sum(pair)))
    show.override(task_id="map_of_concat").expand(x=a.concat(b).map(lambda x: str(x)))
    show.override(task_id="three").expand(x=a.zip(b, a))
    show.override(task_id="concat_of_three").expand(x=a.concat(b, a.map(lambda x: "last")))
    show.override(task_id="zip_of_zip").expand(x=a.zip(b).zip(b))
    show.override(task_id="concat_of_zips").expand(x=a.zip(b).concat(b.zip(a)))
    show.override(task_id="crossed").expand(x=a.zip(b), y=b.concat(a))
    listed.override(task_id="not_mapped_zip")(a.zip(b))
    listed.override(task_id="not_mapped_concat")(a.concat(b))
    listed.override(task_id="not_mapped_map")(b.map(lambda x: x * x))

with DAG("map_kwargs_of_maps", start_date=START, schedule=None):
    a, b = numbers.override(task_id="a")(2), numbers.override(task_id="b")(2)
    show.override(task_id="mapped").expand_kwargs(a.map(lambda x: {"x": x, "y": "y"}))
    show.override(task_id="zipped").expand_kwargs(a.zip(b).map(lambda pair: dict(zip("xy", pair))))
    show.override(task_id="concat").expand_kwargs(a.map(lambda x: {"a": x}).concat(b.map(lambda x: {"b": x})))
    show.override(task_id="of_mapped").expand_kwargs(show.override(task_id="rows").expand(n=a))
    BashOperator.partial(task_id="bash").expand_kwargs(a.map(lambda x: {"bash_command": f"echo {x} $V", "env": {"V": str(x)}}))

with DAG("map_kinds_of_sequences", start_date=START, schedule=None):
    for name, value in {
        "tuple": (1, "b"),
        "nested": [[1, 2], [], [3]],
        "nones": [None, None],
        "dicts": [{"a": 1}, {}],
        "hollow_dict": {},
        "dict_of_lists": {"a": [1], "b": []},
        "one": [0],
        "false": [False, 0, ""],
    }.items():
        show.override(task_id=f"of_{name}").expand(x=given.override(task_id=name)(value))

with DAG("map_over_wrong_kinds", start_date=START, schedule=None):
    for name, value in {"float": 1.5, "true": True, "bytes": b"ab", "text": "", "hollow": None}.items():
        show.override(task_id=f"of_{name}").expand(x=given.override(task_id=name)(value)) >> empty(f"after_{name}", trigger_rule="all_done")
    show.override(task_id="kwargs_of_dict").expand_kwargs(given.override(task_id="a_dict")({"a": {"x": 1}}))
    show.override(task_id="kwargs_of_lists").expand_kwargs(given.override(task_id="lists")([[1], [2]]))
    show.override(task_id="kwargs_with_odd_keys").expand_kwargs(given.override(task_id="odd_keys")([{"1": 1}, {"b": 2}]))
    double.override(task_id="unknown_argument").expand_kwargs(given.override(task_id="unknown")([{"x": 1}, {"y": 2}]))

with DAG("map_classic_of_many_kinds", start_date=START, schedule=None, params={"p": Param("of the DAG", type="string")}):
    BranchPythonOperator.partial(task_id="branch", python_callable=lambda way: way).expand(op_args=[["left"], ["right"]]) >> [
        empty("left"),
        empty("right"),
        empty("neither"),
    ]
    ShortCircuitOperator.partial(task_id="circuit", python_callable=lambda x: x).expand(op_args=[[True], [False]]) >> empty("below_circuit")
    ShortCircuitOperator.partial(task_id="closed", python_callable=lambda x: x).expand(op_args=[[0], [False]]) >> empty(
        "below_closed", trigger_rule="all_done"
    )
    BashOperator.partial(task_id="params", bash_command="echo {{ params.p }} {{ ti.map_index }}").expand(params=[{"p": "one"}, {"p": "two"}, {}])
    BashOperator.partial(task_id="templates", bash_command="echo $A", append_env=True).expand(env=[{"A": "{{ ti.map_index }}"}, {"A": "{{ run_id }}"}])
    PythonOperator.partial(task_id="callables").expand(python_callable=[lambda: "a", lambda: "b"])

with DAG("map_hollow_operators", start_date=START, schedule=None):
    none = numbers.override(task_id="none")(0)
    nothing = double.override(task_id="nothing").expand(x=none)
    nothing >> double.override(task_id="nothing_again").expand(x=none) >> empty("end", trigger_rule="none_failed_min_one_success")
    show.override(task_id="crossed_with_nothing").expand(x=numbers.override(task_id="some")(2), y=none)
    show.override(task_id="zipped_with_nothing").expand(x=numbers.override(task_id="more")(2).zip(none))
    show.override(task_id="joined_with_nothing").expand(x=numbers.override(task_id="yet_more")(2).concat(none))
    listed(nothing)

with DAG("map_partial_of_xcoms", start_date=START, schedule=None):
    base = numbers.override(task_id="base")(2)
    show.partial(base=base, text="{{ ti.map_index }}").expand(x=[1, 2])
    PythonOperator.partial(task_id="classic", python_callable=lambda *args, **kwargs: [list(args), kwargs], op_kwargs={"base": base}).expand(
        op_args=[[1], ["{{ ti.task_id }}"]]
    )
    show.override(task_id="of_mapped").partial(all=double.expand(x=base)).expand(x=["a", "b"])
    show.override(task_id="mixed_lists").expand(x=[base, "literal", {"deep": base}])

with DAG("map_retries", start_date=START, schedule=None):
    PythonOperator.partial(task_id="some", python_callable=act, retries=2, retry_delay=NO_DELAY).expand(
        op_args=[["ok"], ["fail_until_2"], ["fail_until_3"], ["fail"], ["fail_for_good"]]
    ) >> step("after", trigger_rule="all_done")

with DAG("map_upstreams_fail", start_date=START, schedule=None):
    [step("a"), step("f", "fail")] >> double.override(task_id="literal").expand(x=[1, 2]) >> empty("after_literal")
    step("k", "skip") >> double.override(task_id="skipped").expand(x=[1, 2]) >> empty("after_skipped")
    step("f2", "fail") >> double.override(task_id="of_xcom").expand(x=numbers()) >> empty("after_xcom", trigger_rule="all_failed")

with DAG("map_one_way_of_branch", start_date=START, schedule=None):

    @task.branch
    def choose():
        return ["taken", "list_taken"]

    chosen = choose()
    chosen >> double.override(task_id="taken").expand(x=[1, 2]) >> (join := empty("join", trigger_rule="none_failed_min_one_success"))
    chosen >> double.override(task_id="not_taken").expand(x=[1, 2]) >> join
    for way in ("list_taken", "list_not_taken"):
        source = numbers.override(task_id=way)(2)
        chosen >> source
        double.override(task_id=f"of_{way}").expand(x=source) >> join

with DAG("map_limits_of_groups", start_date=START, schedule=None):

    @task_group
    def group(x):
        double.override(task_id="narrow", max_active_tis_per_dagrun=1)(x) >> step("wide", max_active_tis_per_dag=2)

    group.expand(x=numbers(4)) >> step("after")

with DAG("map_names_of_indexes", start_date=START, schedule=None, default_args={"retries": 0}):

    @task(map_index_template="{{ params.prefix }} {{ x }}", params={"prefix": "of the task"})
    def named(x, ti, **context):
        from airflow.sdk import get_current_context

        get_current_context()["x"] = x
        if x == "skip":
            raise AirflowSkipException("skipped after it was named")
        if x == "fail":
            raise ValueError("failed after it was named")

    named.expand(x=["a", "skip", "fail"])
    BashOperator.partial(task_id="templated", map_index_template="{{ task.bash_command }}").expand(bash_command=["echo {{ ti.map_index }}", "exit 99", "exit 1"])
    BashOperator.partial(task_id="hollow", map_index_template="").expand(bash_command=["true"])
    double.override(task_id="undefined", map_index_template="{{ no_such_thing }}").expand(x=[1])

with DAG("map_long_name", start_date=START, schedule=None):
    BashOperator.partial(task_id="long", map_index_template="{{ 'x' * 300 }}").expand(bash_command=["true"])

with DAG("map_of_all_outputs", start_date=START, schedule=None):

    @task(multiple_outputs=True)
    def both():
        return {"a": [1, 2], "b": {"k": "v"}}

    double.expand(x=given.override(task_id="a")(both()["a"]))
    show.expand(pair=given.override(task_id="b")(both.override(task_id="both_again")()["b"]))

with DAG("map_fails_midway", start_date=START, schedule=None, **SERIAL):
    some = PythonOperator.partial(task_id="some", python_callable=act).expand(op_args=[["ok"], ["fail"], ["ok"]])
    again = double.override(task_id="again", trigger_rule="all_done").expand(x=some.output)
    again >> double.override(task_id="strict").expand(x=some.output)
    listed.override(task_id="whole", trigger_rule="all_done")(some.output)
