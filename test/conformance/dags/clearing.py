"""More runs that users change. The scenarios are in scenarios.ts."""
from acts import NO_DELAY, RULES, SERIAL, START, act, empty, step
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, task, task_group


@task
def of_length(lengths, ti):
    """A list that has another length in each of its tries."""
    return list(range(lengths[ti.try_number - 1]))


@task
def show(x, ti):
    return [x, ti.try_number]


@task
def listed(values):
    return list(values)


def fails_at_first(x, ti):
    return act("fail" if x == 2 and ti.try_number == 1 else "ok", [x, ti.try_number])


for name, lengths in {"to_zero": [2, 0], "from_zero": [0, 2], "up_and_down": [2, 4, 1], "the_same": [2, 2]}.items():
    with DAG(f"clear_{name}", start_date=START, schedule=None):
        mapped = show.expand(x=of_length(lengths))
        mapped >> empty("after")
        listed.override(trigger_rule="all_done")(mapped)

with DAG("clear_shrinks_below", start_date=START, schedule=None):
    again = show.override(task_id="again").expand(x=show.expand(x=of_length([3, 1])))
    listed(again)

with DAG("clear_shrinks_rules", start_date=START, schedule=None, **SERIAL):
    mapped = show.expand(x=of_length([3, 1]))
    for rule in RULES:
        mapped >> empty(f"after_{rule}", trigger_rule=rule)

with DAG("clear_group_grows", start_date=START, schedule=None):

    @task_group
    def group(x):
        show(x) >> step("next") >> empty("end", trigger_rule="all_done")

    group.expand(x=of_length([1, 3])) >> step("after")

with DAG("clear_group_index", start_date=START, schedule=None):

    @task_group
    def group(x):
        show(x) >> PythonOperator(task_id="next", python_callable=lambda ti: ti.try_number)

    group.expand(x=[1, 2, 3]) >> PythonOperator(task_id="after", python_callable=lambda ti: ti.try_number)

for name in ["failed_index", "failed_index_alone", "two_indexes", "index_with_downstream", "index_only_failed"]:
    with DAG(f"clear_{name}", start_date=START, schedule=None):
        some = PythonOperator.partial(task_id="some", python_callable=fails_at_first).expand(op_args=[[1], [2], [3]])
        some >> step("strict") >> empty("end")
        some >> PythonOperator(task_id="lenient", python_callable=lambda ti: ti.try_number, trigger_rule="all_done")

with DAG("clear_source_alone", start_date=START, schedule=None):
    mapped = show.expand(x=of_length([2, 3]))
    listed(mapped)

with DAG("clear_mapped_alone", start_date=START, schedule=None):
    listed(show.expand(x=of_length([2, 3])))

with DAG("clear_short_circuit", start_date=START, schedule=None):

    @task.short_circuit
    def opens(ti):
        return ti.try_number > 1

    opens() >> step("a") >> step("b", trigger_rule="all_done")

with DAG("clear_retried", start_date=START, schedule=None):
    PythonOperator(
        task_id="a", python_callable=lambda ti: act("fail" if ti.try_number in (1, 3) else "ok", ti.try_number), retries=1, retry_delay=NO_DELAY
    ) >> step("b")

with DAG("clear_exhausted", start_date=START, schedule=None):
    step("a", "fail_until_4", retries=1) >> step("b")

with DAG("clear_upstream", start_date=START, schedule=None):
    step("a") >> step("b") >> step("c", "fail_until_2") >> step("d")
    step("beside")

with DAG("clear_teardown", start_date=START, schedule=None):
    s = step("s")
    s >> step("w", "fail_until_2") >> step("t").as_teardown(setups=s)
    step("other") >> empty("end")

with DAG("clear_past_and_future", start_date=START, schedule=None):
    PythonOperator(task_id="a", python_callable=lambda ti: ti.try_number) >> step("b")

with DAG("clear_run", start_date=START, schedule=None):
    step("a", "fail_until_2") >> step("b")
    step("c")

with DAG("clear_run_only_failed", start_date=START, schedule=None):
    step("a", "fail_until_2") >> step("b")
    step("c")

with DAG("clear_run_of_skips", start_date=START, schedule=None):
    step("k", "skip") >> step("a") >> empty("b", trigger_rule="all_done")

with DAG("mark_index", start_date=START, schedule=None):
    some = PythonOperator.partial(task_id="some", python_callable=fails_at_first).expand(op_args=[[1], [2], [3]])
    some >> step("after")

with DAG("mark_whole_mapped", start_date=START, schedule=None):
    PythonOperator.partial(task_id="some", python_callable=fails_at_first).expand(op_args=[[1], [2]]) >> step("after")

with DAG("mark_skipped", start_date=START, schedule=None):
    step("a", "fail") >> step("b") >> empty("c", trigger_rule="none_failed")

with DAG("mark_with_downstream", start_date=START, schedule=None):
    step("a", "fail") >> step("b") >> empty("c")

with DAG("mark_waiting", start_date=START, schedule=None):
    step("a") >> step("waits", pool="no_such_pool") >> step("b") >> empty("c")

with DAG("mark_run_success", start_date=START, schedule=None):
    step("a") >> step("waits", pool="no_such_pool") >> step("b")

with DAG("past_unlocked", start_date=START, schedule=None):
    PythonOperator(task_id="a", python_callable=lambda dag_run: act(dag_run.conf.get("outcome", "ok")), depends_on_past=True) >> step("b")

with DAG("past_cleared", start_date=START, schedule=None):
    step("a", "fail_until_2", depends_on_past=True) >> step("b")

with DAG("limit_unlocked", start_date=START, schedule=None, max_active_runs=1):
    step("a") >> step("waits", pool="no_such_pool") >> step("b")
