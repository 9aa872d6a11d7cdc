"""Mapped task groups."""
from acts import NO_DELAY, START, do, double, empty, listed, numbers, step
from airflow.sdk import DAG, TaskGroup, task, task_group

with DAG("groups_mapped", start_date=START, schedule=None):

    @task_group
    def chain(x):
        return double.override(task_id="second")(double.override(task_id="first")(x))

    listed(chain.expand(x=[1, 2, 3]))

with DAG("groups_mapped_xcom", start_date=START, schedule=None):

    @task_group
    def pair(x):
        a = double.override(task_id="a")(x)
        b = double.override(task_id="b")(x)
        a >> b >> step("c")
        return a

    listed(pair.expand(x=numbers(3))) >> empty("end")

with DAG("groups_mapped_zero", start_date=START, schedule=None):

    @task_group
    def chain(x):
        double.override(task_id="first")(x) >> step("plain") >> empty("hollow") >> step("done", trigger_rule="all_done")

    chain.expand(x=numbers(0)) >> empty("after")

with DAG("groups_mapped_partial_failure", start_date=START, schedule=None):

    @task_group
    def chain(outcome):
        do(outcome) >> step("next") >> step("last", trigger_rule="all_done")

    group = chain.expand(outcome=["ok", "fail", "skip"])
    group >> step("after")
    group >> step("after_done", trigger_rule="all_done")

with DAG("groups_mapped_source_fails", start_date=START, schedule=None):

    @task
    def broken():
        raise ValueError("no")

    @task_group
    def chain(x):
        double(x) >> step("plain") >> step("done", trigger_rule="all_done")

    chain.expand(x=broken()) >> step("after", trigger_rule="all_done")

with DAG("groups_mapped_and_inside", start_date=START, schedule=None):

    @task_group
    def group(x):
        with TaskGroup("inner"):
            a = double(x)
            a >> step("b")
        step("c") << a

    group.partial().expand(x=[1, 2])

with DAG("groups_mapped_kwargs", start_date=START, schedule=None):

    @task
    def add(a, b):
        return a + b

    @task_group
    def group(a, b):
        return double(add(a, b))

    listed(group.expand_kwargs([{"a": 1, "b": 2}, {"a": 3, "b": 4}]))
    listed.override(task_id="crossed")(group.override(group_id="cross").expand(a=[1, 2], b=[10, 20]))
    listed.override(task_id="partly")(group.override(group_id="part").partial(a=5).expand(b=[10, 20]))

with DAG("groups_mapped_retries", start_date=START, schedule=None, default_args={"retries": 1, "retry_delay": NO_DELAY}):

    @task_group(default_args={"retries": 2})
    def group(outcome):
        do(outcome) >> step("next", "fail_until_2", retries=1)

    group.expand(outcome=["fail_until_2", "fail_until_3", "fail"])

with DAG("groups_mapped_two_sources", start_date=START, schedule=None):

    @task_group
    def group(x, y):
        @task
        def both(a, b):
            return [a, b]

        return both(x, y)

    listed(group.expand(x=numbers(2), y=numbers.override(task_id="others")(2)))

with DAG("groups_mapped_cross_dependency", start_date=START, schedule=None):

    @task_group(group_id="one")
    def one(x):
        return double(x)

    @task_group(group_id="two")
    def two(x):
        double(x) >> step("end")

    first = one.expand(x=[1, 2])
    two.expand(x=first)

with DAG("groups_mapped_index_template", start_date=START, schedule=None):

    @task_group
    def group(x):
        double.override(map_index_template="{{ 'x is ' ~ task.op_kwargs['x'] }}")(x) >> step("plain")

    group.expand(x=[7, 8])
