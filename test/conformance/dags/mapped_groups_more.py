"""More of mapped task groups."""
from acts import NO_DELAY, SERIAL, START, act, do, double, empty, listed, numbers, show, step
from airflow.sdk import DAG, TaskGroup, setup, task, task_group, teardown

with DAG("groups_mapped_over_maps", start_date=START, schedule=None):

    @task_group
    def group(x):
        return show(x=x)

    a, b = numbers.override(task_id="a")(2), numbers.override(task_id="b")(3)
    listed.override(task_id="l1")(group.override(group_id="mapped").expand(x=a.map(lambda x: x + 5)))
    listed.override(task_id="l2")(group.override(group_id="zipped").expand(x=a.zip(b)))
    listed.override(task_id="l3")(group.override(group_id="joined").expand(x=a.concat(b)))
    listed.override(task_id="l4")(group.override(group_id="a_dict").expand(x={"k": 1, "l": 2}))

with DAG("groups_mapped_kwargs_xcom", start_date=START, schedule=None):

    @task
    def rows():
        return [{"x": 1, "y": 2}, {"x": 3, "y": 4}]

    @task_group
    def group(x, y):
        return show(x=x, y=y)

    listed(group.expand_kwargs(rows()))
    listed.override(task_id="l2")(group.override(group_id="of_maps").expand_kwargs(numbers(2).map(lambda n: {"x": n, "y": -n})))

with DAG("groups_mapped_with_circuits", start_date=START, schedule=None):

    @task.short_circuit
    def is_odd(x):
        return x % 2 == 1

    @task.short_circuit(ignore_downstream_trigger_rules=False)
    def is_odd_softly(x):
        return x % 2 == 1

    @task_group
    def hard(x):
        is_odd(x) >> step("a") >> empty("b", trigger_rule="all_done")

    @task_group
    def soft(x):
        is_odd_softly(x) >> step("a") >> empty("b", trigger_rule="all_done")

    soft.expand(x=[1, 2]) >> empty("after_soft", trigger_rule="none_failed")
    hard.expand(x=[1, 2])

with DAG("groups_mapped_with_setups", start_date=START, schedule=None, **SERIAL):

    @task_group
    def group(outcome):
        @setup
        def make(outcome):
            return act(outcome)

        @teardown
        def destroy(what):
            return what

        made = make(outcome)
        with destroy(made):
            step("work") >> step("more")

    group.expand(outcome=["ok", "fail", "skip"]) >> step("after", trigger_rule="all_done")

with DAG("groups_mapped_in_group", start_date=START, schedule=None):
    with TaskGroup("outer"):
        source = numbers(2)

        @task_group
        def inner(x):
            with TaskGroup("deep"):
                double(x) >> step("end")

        inner.expand(x=source) >> step("after")

with DAG("groups_mapped_reduce_inside", start_date=START, schedule=None):
    doubled = double.expand(x=numbers())

    @task_group
    def group(x):
        first = show(x=x, all=doubled)
        listed.override(task_id="keys")(first)
        return first

    shown = group.expand(x=doubled)
    listed(shown)

with DAG("groups_mapped_upstream_inside", start_date=START, schedule=None):
    outside, broken = step("outside"), step("broken", "fail")

    @task_group
    def group(x):
        a = double(x)
        [a, outside] >> empty("both") >> empty("end", trigger_rule="all_done")
        [a, broken] >> empty("with_broken") >> empty("after_broken", trigger_rule="one_failed")

    group.expand(x=[1, 2]) >> empty("after", trigger_rule="none_failed_min_one_success")

with DAG("groups_mapped_source_skipped", start_date=START, schedule=None):

    @task_group
    def group(x):
        double(x) >> step("plain") >> step("done", trigger_rule="all_done")

    from airflow.sdk.exceptions import AirflowSkipException

    @task
    def none():
        raise AirflowSkipException("no list")

    group.expand(x=none()) >> step("after", trigger_rule="none_failed")

with DAG("groups_mapped_source_retries", start_date=START, schedule=None):

    @task(retries=2, retry_delay=NO_DELAY)
    def late(ti):
        if ti.try_number < 3:
            raise ValueError("later")
        return ["ok", "skip"]

    @task_group
    def group(x):
        do(x) >> empty("end", trigger_rule="none_failed_min_one_success")

    group.expand(x=late()) >> step("after", trigger_rule="none_failed")

with DAG("groups_mapped_twice_used", start_date=START, schedule=None):

    @task_group
    def group(x):
        return double(x)

    first = group.expand(x=numbers(2))
    second = group.override(group_id="again").expand(x=first)
    listed(second)
    double.override(task_id="tasks").expand(x=second)

with DAG("groups_mapped_rules_of_groups", start_date=START, schedule=None, **SERIAL):

    @task_group
    def group(outcome):
        do(outcome) >> step("end", trigger_rule="none_failed")

    mixed = group.expand(outcome=["skip", "ok"])
    failing = group.override(group_id="failing").expand(outcome=["ok", "fail"])
    for rule in ["all_success", "all_done", "none_failed", "none_failed_min_one_success", "none_skipped", "all_done_min_one_success"]:
        mixed >> empty(f"mixed_{rule}", trigger_rule=rule)
        failing >> empty(f"failing_{rule}", trigger_rule=rule)
    [mixed, failing] >> empty("both", trigger_rule="all_done")
