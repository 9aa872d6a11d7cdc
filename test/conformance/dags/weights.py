"""Which of several waiting tasks goes first."""
from acts import NO_DELAY, SERIAL, START, empty
from airflow.sdk import DAG, task
from strategies import Heaviest, Later

NAMES = ["one", "two", "three", "four"]


def place(task_id, **arguments):
    """Returns how many of the four were done before it."""

    @task(task_id=task_id, **arguments)
    def count(ti, dag_run):
        return ti.get_ti_count(dag_id=dag_run.dag_id, task_ids=NAMES, run_ids=[dag_run.run_id], states=["success"])

    return count()


def first():
    return task(task_id="first")(lambda: None)()


with DAG("weights_absolute", start_date=START, schedule=None, **SERIAL):
    first() >> [place(name, priority_weight=weight, weight_rule="absolute") for name, weight in zip(NAMES, [2, 9, -3, 5])]

with DAG("weights_downstream", start_date=START, schedule=None, **SERIAL):
    above = first()
    for name, below in zip(NAMES, [1, 3, 0, 2]):
        task_ = place(name)
        above >> task_
        for n in range(below):
            task_ >> empty(f"{name}_{n}")

with DAG("weights_downstream_weighed", start_date=START, schedule=None, **SERIAL):
    above = first()
    for name, weights in zip(NAMES, [[1, 1, 1], [1, 20], [15], [2, -5]]):
        own, *below = weights
        task_ = place(name, priority_weight=own)
        above >> task_
        for n, weight in enumerate(below):
            task_ >> empty(f"{name}_{n}", priority_weight=weight)

with DAG("weights_upstream", start_date=START, schedule=None, **SERIAL):
    above = first()
    gate = task(task_id="gate")(lambda: None)()
    above >> gate
    for name, many in zip(NAMES, [2, 0, 3, 1]):
        task_ = place(name, weight_rule="upstream")
        gate >> task_
        if many:
            above >> [empty(f"{name}_{n}") for n in range(many)] >> task_

with DAG("weights_mixed_rules", start_date=START, schedule=None, **SERIAL):
    above = first()
    one = place("one", weight_rule="absolute", priority_weight=3)
    two = place("two", weight_rule="downstream")
    three = place("three", weight_rule="upstream", priority_weight=6)
    four = place("four", weight_rule="downstream", priority_weight=2)
    above >> [one, two, three, four]
    two >> [empty(f"below_{n}") for n in range(5)] >> empty("end", priority_weight=7)

with DAG("weights_of_map_indexes", start_date=START, schedule=None, **SERIAL):

    @task
    def count(x, ti, dag_run):
        return ti.get_ti_count(dag_id=dag_run.dag_id, task_ids=["count"], run_ids=[dag_run.run_id], states=["success"])

    first() >> count.expand(x=[1, 2, 3])

with DAG("weights_own_strategy", start_date=START, schedule=None, **SERIAL):
    above = first()
    one = place("one", weight_rule=Later())
    two = place("two", weight_rule="strategies.Heaviest")
    three = place("three", weight_rule="absolute", priority_weight=50)
    four = place("four", weight_rule=Heaviest(), priority_weight=7)
    above >> [one, two, three, four]

with DAG("weights_own_strategy_of_tries", start_date=START, schedule=None, **SERIAL, default_args={"retry_delay": NO_DELAY}):

    @task(task_id="one", retries=1, weight_rule=Later())
    def fails_once(ti, dag_run):
        if ti.try_number == 1:
            raise ValueError("again, after the others")
        return ti.get_ti_count(dag_id=dag_run.dag_id, task_ids=NAMES, run_ids=[dag_run.run_id], states=["success"])

    first() >> [fails_once(), place("two", weight_rule=Later())]
