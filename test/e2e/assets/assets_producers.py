"""Tasks that update assets: plainly, with extra, through aliases, in partitions, from outside."""

from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, AssetAlias, Metadata, PartitionedAtRuntime, asset, task

RAW = Asset("raw", "file:///data/raw", extra={"owner": "me"})
CLEAN = Asset("clean")
ALIAS = AssetAlias("reports")
KEYED = Asset("keyed")

with DAG("make_raw", schedule=None):

    @task(outlets=[RAW])
    def write(outlet_events=None, params=None):
        outlet_events[RAW].extra = {"rows": 3, "ratio": 1.0}

    write()

with DAG("make_both", schedule=None):

    @task(outlets=[RAW, CLEAN])
    def both():
        yield Metadata(RAW, {"from": "metadata"})

    both()

with DAG("make_nothing", schedule=None):
    EmptyOperator(task_id="nothing", outlets=[CLEAN])

with DAG("make_mapped", schedule=None):

    @task(outlets=[CLEAN])
    def one(n):
        return n

    one.expand(n=[1, 2, 3])

with DAG("fail_to_make", schedule=None):

    @task(outlets=[CLEAN])
    def fails():
        raise ValueError("nothing was made")

    fails()

with DAG("make_by_alias", schedule=None):

    @task(outlets=[ALIAS])
    def report(outlet_events=None):
        outlet_events[ALIAS].add(Asset("report", "s3://reports/today"), extra={"pages": 2})

    report()

with DAG("make_keyed", schedule=PartitionedAtRuntime()):

    @task(outlets=[KEYED])
    def parts(outlet_events=None):
        outlet_events[KEYED].add_partitions(["eu", "us"])

    parts()

with DAG("a_takes_the_name", schedule=None):
    EmptyOperator(task_id="first", outlets=[Asset("taken")])

with DAG("conflict", schedule=None):
    # The name is taken: whoever uses it fails.
    @task(outlets=[Asset("taken", "s3://elsewhere")])
    def inactive():
        return 1

    inactive()


@asset(schedule=None, group="made")
def decorated(self, context):
    return {"from": self.name}
