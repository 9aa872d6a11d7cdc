"""Every trigger rule over every mix of upstream states."""
from itertools import combinations, product

from acts import RULES, SERIAL, START, empty, step
from airflow.sdk import DAG

for rule, first in product(RULES, ["f", "k"]):
    with DAG(f"rule_{rule}_{first}_first", start_date=START, schedule=None, **SERIAL):
        acting = {"f": "fail", "k": "skip"}
        above = {"s": empty("s"), "u": empty("u")}
        for name in sorted(acting, reverse=first == "k"):
            above[name] = step(name, acting[name])
        above["f"] >> above["u"]
        for size in range(1, 5):
            for chosen in combinations(above, size):
                below = empty("after_" + "".join(chosen), trigger_rule=rule)
                [above[name] for name in chosen] >> below
                below >> empty("then_" + "".join(chosen), trigger_rule="none_failed")

with DAG("rule_all_done_setup_success", start_date=START, schedule=None, **SERIAL):
    for name, setups in {"ss": ["ok", "ok"], "sf": ["ok", "fail"], "ff": ["fail", "fail"], "kk": ["skip", "skip"], "sk": ["ok", "skip"]}.items():
        teardown = empty(f"teardown_{name}").as_teardown()
        for number, outcome in enumerate(setups):
            setup = step(f"setup_{name}_{number}", outcome).as_setup()
            setup >> empty(f"work_{name}_{number}") >> teardown
            setup >> teardown

with DAG("rule_one_failed_chain", start_date=START, schedule=None, **SERIAL):
    a = step("a", "fail")
    b = step("b")
    alarm = step("alarm", trigger_rule="one_failed")
    [a, b] >> alarm >> empty("after_alarm")
    b >> step("c", "fail") >> empty("cleanup", trigger_rule="all_done") >> empty("end")

with DAG("rule_skips_cascade", start_date=START, schedule=None):
    first = step("first", "skip")
    middle = [empty(f"m{n}") for n in range(3)]
    first >> middle
    middle >> empty("join_all_success")
    middle >> empty("join_none_failed", trigger_rule="none_failed")
    middle >> empty("join_min_one", trigger_rule="none_failed_min_one_success")
    middle >> empty("join_done", trigger_rule="all_done") >> empty("end")
