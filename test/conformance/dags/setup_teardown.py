"""Setups and teardowns: what they wait for, what their failures mean."""
from acts import SERIAL, START, act, empty, step, turn
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, TaskGroup, setup, task, task_group, teardown

OUTCOMES = ["ok", "fail", "skip"]

for a in OUTCOMES:
    for b in OUTCOMES:
        with DAG(f"setup_{a}_work_{b}", start_date=START, schedule=None, **SERIAL):
            s = step("s", a)
            t = step("t")
            s >> step("w1", b) >> empty("w2") >> t.as_teardown(setups=s)
            t >> empty("after")

for a in OUTCOMES:
    for fails_run in (False, True):
        with DAG(f"teardown_{a}_{'counts' if fails_run else 'ignored'}", start_date=START, schedule=None, **SERIAL):
            s = step("s")
            s >> step("w") >> step("t", a).as_teardown(setups=s, on_failure_fail_dagrun=fails_run)

with DAG("teardown_is_leaf_work_fails", start_date=START, schedule=None, **SERIAL):
    s = step("s")
    t = step("t")
    s >> [step("w1"), step("w2", "fail")] >> t.as_teardown(setups=s)

with DAG("setups_two_one_fails", start_date=START, schedule=None, **SERIAL):
    s1, s2 = step("s1"), step("s2", "fail")
    t1, t2 = step("t1"), step("t2")
    w1, w2, w3 = step("w1"), step("w2"), step("w3", trigger_rule="all_done")
    s1 >> w1 >> w2 >> t1.as_teardown(setups=s1)
    s2 >> w2 >> w3 >> t2.as_teardown(setups=s2)

with DAG("setups_nested", start_date=START, schedule=None, **SERIAL):
    outer_s, outer_t = step("outer_s"), step("outer_t")
    inner_s, inner_t = step("inner_s"), step("inner_t", "fail")
    outer_s >> step("before") >> inner_s >> step("inside", "fail") >> inner_t.as_teardown(setups=inner_s)
    last = step("last", trigger_rule="all_done")
    inner_t >> last >> outer_t.as_teardown(setups=outer_s)

with DAG("setups_in_group", start_date=START, schedule=None, **SERIAL):
    with TaskGroup("group") as group:
        s = step("s")
        t = step("t", "fail")
        s >> [step("w1"), step("w2", "skip")] >> t.as_teardown(setups=s)
    first = step("first")
    first >> group >> step("after")

with DAG("setups_decorated", start_date=START, schedule=None, **SERIAL):

    @setup
    def make():
        return {"cluster": 7}

    @teardown
    def destroy(what):
        return what["cluster"]

    @task
    def use(what):
        return what["cluster"] + 1

    made = make()
    with destroy(made):
        use(made) >> use.override(task_id="use_again")(made)

with DAG("setup_indirect_rule", start_date=START, schedule=None, **SERIAL):
    s = step("s", "fail")
    w = step("w")
    s >> w >> [empty("done", trigger_rule="all_done"), empty("always", trigger_rule="always")] >> step("t").as_teardown(setups=s)

with DAG("setup_skipped_deep", start_date=START, schedule=None, **SERIAL):
    s = step("s", "skip")
    s >> empty("a") >> empty("b", trigger_rule="none_failed") >> empty("c", trigger_rule="all_done") >> step("t").as_teardown(setups=s)

with DAG("teardown_of_mapped_work", start_date=START, schedule=None, **SERIAL):
    s = step("s")
    work = PythonOperator.partial(task_id="work", python_callable=act, **turn()).expand(op_args=[["ok"], ["fail"], ["skip"]])
    s >> work >> step("t").as_teardown(setups=s)

with DAG("setup_in_mapped_group", start_date=START, schedule=None, **SERIAL):

    @task
    def do(outcome):
        return act(outcome)

    @task_group
    def one(outcome):
        s = do.override(task_id="s")(outcome)
        s.operator.is_setup = True
        t = step("t")
        t.is_teardown = True
        s >> step("w") >> t
        s >> t

    one.expand(outcome=["ok", "fail", "skip"])

with DAG("teardown_alone", start_date=START, schedule=None, **SERIAL):
    step("w", "fail") >> step("t").as_teardown()

with DAG("teardown_waits_for_scope", start_date=START, schedule=None, **SERIAL):
    s, t = step("s"), step("t")
    s >> step("w1", "fail_until_2", retries=1) >> step("w2") >> t.as_teardown(setups=s)
    s >> step("w3", "fail") >> t
