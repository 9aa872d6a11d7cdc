"""Writes replay.jsonl: random DAGs whose runs Airflow's own scheduler code moved, step by step.

Each line holds a serialized DAG and steps: what happened to task instances, then the states Airflow brought the run to, by
looping DagRun.update_state and DagRun.schedule_tis until nothing changes. replay.test.ts plays the same to RunMemory.

Run with the Python of a Leoflow venv: python src/domain/replay.py [DAGs] [first seed] [target]
"""
import datetime
import json
import os
import pathlib
import random
import sys
import tempfile

home = tempfile.mkdtemp()
os.environ["AIRFLOW_HOME"] = home
os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{home}/airflow.db"
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "CRITICAL"

from airflow.ti_deps.deps.base_ti_dep import BaseTIDep

# Airflow keeps dependencies in a set, so that their order depends on memory addresses. It matters when the trigger rule
# skips what a mapped dependency fails; RunMemory lets the failure win.
ORDER = ["NotInRetryPeriodDep", "PrevDagrunDep", "TriggerRuleDep", "MappedTaskUpstreamDep", "NotPreviouslySkippedDep"]
BaseTIDep.__hash__ = lambda self: ORDER.index(type(self).__name__) if type(self).__name__ in ORDER else len(ORDER)

from sqlalchemy import delete, func, select, update

from airflow import settings
from airflow.models.base import Base
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance as TI
from airflow.models.tasklog import LogTemplate
from airflow.models.taskmap import TaskMap
from airflow.models.xcom import XComModel
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, TaskGroup, task, task_group
from airflow.serialization.serialized_objects import DagSerialization, LazyDeserializedDAG
from airflow.utils.state import DagRunState, State
from airflow.utils.types import DagRunTriggeredByType, DagRunType

settings.configure_orm()
import airflow.models

airflow.models.import_all_models()
Base.metadata.create_all(settings.engine)
session = settings.Session()
session.add(DagBundleModel(name="replay"))
session.add(LogTemplate(filename="x", elasticsearch_id="x"))
session.commit()

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
RULES = ["all_success"] * 6 + ["all_failed", "all_done", "all_done_min_one_success", "one_success", "one_failed", "one_done",
         "none_failed", "none_failed_min_one_success", "none_skipped", "all_skipped", "always"]


def random_dag(seed):
    pick = random.Random(seed)
    with DAG(f"dag_{seed}", start_date=NOW, schedule=None) as dag:
        nodes = []

        @task
        def step(x=None):
            return [x]

        def rule():
            return pick.choice(RULES)

        for number in range(pick.randint(3, 8)):
            kind = pick.random()
            above = pick.sample(nodes, k=min(len(nodes), pick.choice([0, 1, 1, 2, 3])))
            sources = [node for node in nodes if hasattr(node, "operator")]
            name = f"t{number}"
            if kind < 0.2:
                node = EmptyOperator(task_id=name, trigger_rule=rule())
            elif kind < 0.4 and sources:
                made = step.override(task_id=name, trigger_rule=rule().replace("always", "all_done"))
                if pick.random() < 0.3:
                    node = made.expand(x=[1, 2, 3][: pick.randint(1, 3)])
                elif pick.random() < 0.2 and len(sources) > 1:
                    first, second = pick.sample(sources, 2)
                    node = made.expand(x=first.zip(second) if pick.random() < 0.5 else first.concat(second))
                else:
                    node = made.expand(x=pick.choice(sources))
            elif kind < 0.55 and sources:
                over = pick.choice(sources) if pick.random() < 0.7 else [1, 2]

                @task_group(group_id=name)
                def group(x, inner=pick.random() < 0.4, rules=[rule().replace("always", "all_done") for _ in range(3)]):
                    first = step.override(task_id="a", trigger_rule=rules[0])(x)
                    second = step.override(task_id="b", trigger_rule=rules[1])(first)
                    if inner:
                        with TaskGroup("plain"):
                            third = step.override(task_id="c", trigger_rule=rules[2])(x)
                        first >> third

                node = group.expand(x=over)
            else:
                node = step.override(task_id=name, trigger_rule=rule())()
            for other in above:
                other >> node
            if node is not None:
                nodes.append(node)
        if pick.random() < 0.4 and len(nodes) > 2:
            setup = EmptyOperator(task_id="setup") if pick.random() < 0.5 else step.override(task_id="setup")().operator
            teardown = step.override(task_id="teardown")().operator
            teardown.as_teardown(setups=setup, on_failure_fail_dagrun=pick.random() < 0.3)
            inside = pick.sample(nodes, k=2)
            setup >> inside[0]
            inside[0] >> teardown
            if pick.random() < 0.5:
                inside[1] >> teardown
    return dag


def states(dr):
    rows = session.execute(select(TI.task_id, TI.map_index, TI.state).where(TI.run_id == dr.run_id, TI.dag_id == dr.dag_id))
    return {f"{t}[{m}]": s and str(s) for t, m, s in rows}


def loop(dr):
    """Airflow's scheduler, until it has nothing more to do."""
    for _ in range(60):
        before = states(dr), str(dr.state)
        schedulable, _ = dr.update_state(session=session, execute_callbacks=False)
        session.flush()
        if dr.state == DagRunState.RUNNING:
            dr.schedule_tis(schedulable, session=session)
        session.flush()
        session.expire_all()
        dr.dag = dr.serdag
        if (states(dr), str(dr.state)) == before:
            return
    raise RuntimeError("no fixpoint")


def lengths(dr):
    """As RunMemory.setLengths wants them."""
    found = {}
    for t in dr.serdag.tasks:
        if t.is_mapped:
            found[t.task_id] = session.scalar(select(func.count()).select_from(XComModel).where(
                XComModel.dag_id == dr.dag_id, XComModel.task_id == t.task_id, XComModel.run_id == dr.run_id, XComModel.map_index >= 0))
        else:
            found[t.task_id] = session.scalar(select(TaskMap.length).where(
                TaskMap.dag_id == dr.dag_id, TaskMap.task_id == t.task_id, TaskMap.run_id == dr.run_id, TaskMap.map_index < 0))
    return found


def write(dr, ti, state):
    session.execute(update(TI).where(TI.id == ti.id).values(state=state, start_date=NOW, end_date=NOW))


def finish(dr, ti, pick, events):
    outcome = pick.choice(["success"] * 7 + ["failed", "failed", "skipped", "up_for_retry", "up_for_reschedule", "removed"])
    length = None
    write(dr, ti, outcome)
    if outcome == "success":
        if ti.map_index < 0:
            length = pick.choice([0, 1, 2, 2, 3])
            session.merge(TaskMap(dag_id=dr.dag_id, task_id=ti.task_id, run_id=dr.run_id, map_index=-1, length=length, keys=None))
        elif pick.random() < 0.9:
            session.add(XComModel(dag_run_id=dr.id, dag_id=dr.dag_id, task_id=ti.task_id, run_id=dr.run_id,
                                  map_index=ti.map_index, key="return_value", value="[1]"))
        below = sorted(dr.serdag.get_task(ti.task_id).downstream_task_ids)
        if below and pick.random() < 0.1:
            for other in session.scalars(select(TI).where(TI.dag_id == dr.dag_id, TI.run_id == dr.run_id, TI.task_id == below[0], TI.state.is_(None))).all():
                write(dr, other, "skipped")
                events.append([other.task_id, other.map_index, "skipped", None])
    events.append([ti.task_id, ti.map_index, outcome, length])


def clear(dr, rows, pick, events):
    chosen = pick.choice(sorted({row.task_id for row in rows}))
    ids = {chosen} | dr.serdag.get_task(chosen).get_flat_relative_ids(upstream=False)
    for row in rows:
        if row.task_id in ids and row.state in State.finished and row.state != "removed":
            for table in (TaskMap, XComModel):
                session.execute(delete(table).where(table.dag_id == dr.dag_id, table.run_id == dr.run_id,
                                                    table.task_id == row.task_id, table.map_index == row.map_index))
            session.execute(update(TI).where(TI.id == row.id).values(state=None))
            events.append([row.task_id, row.map_index, None, None])
    dr.set_state(DagRunState.RUNNING)


def play(seed):
    pick = random.Random(seed * 7919)
    dag = random_dag(seed)
    serialized = DagSerialization.to_dict(dag)
    session.add(DagModel(dag_id=dag.dag_id, bundle_name="replay", fileloc="x", relative_fileloc="x"))
    session.flush()
    SerializedDagModel.write_dag(LazyDeserializedDAG.from_dag(dag), bundle_name="replay", session=session)
    session.flush()
    serdag = DagSerialization.from_dict(json.loads(json.dumps(serialized)))
    dr = serdag.create_dagrun(run_id="run", run_type=DagRunType.MANUAL, state=DagRunState.RUNNING, logical_date=NOW, run_after=NOW,
                              data_interval=(NOW, NOW), triggered_by=DagRunTriggeredByType.TEST, session=session)
    session.flush()
    dr.dag = dr.serdag = serdag
    begin = states(dr)
    steps, last, clears = [], begin, 0
    for _ in range(60):
        events = []
        if steps:
            rows = session.scalars(select(TI).where(TI.dag_id == dr.dag_id, TI.run_id == dr.run_id).order_by(TI.task_id, TI.map_index)).all()
            active = [row for row in rows if row.state == "scheduled"]
            if dr.state == DagRunState.RUNNING and active and not (clears < 2 and pick.random() < 0.04):
                for row in pick.sample(active, k=min(len(active), pick.choice([1, 1, 1, 2, 3]))):
                    finish(dr, row, pick, events)
            elif clears < 2:
                clears += 1
                clear(dr, rows, pick, events)
            else:
                break
            session.flush()
            session.expire_all()
            dr.dag = dr.serdag
        loop(dr)
        after = states(dr)
        changed = {name: state for name, state in after.items() if name not in last or last[name] != state}
        gone = [name for name in last if name not in after]
        steps.append({"events": events, "changed": changed, "gone": gone, "run": str(dr.state), "lengths": lengths(dr)})
        last = after
    session.commit()
    return {"seed": seed, "serialized": slim(serialized), "begin": sorted(begin), "steps": steps}


DROPPED = ["template_fields", "template_fields_renderers", "ui_color", "python_callable_name", "op_args", "op_kwargs", "_task_module"]


def slim(serialized):
    """Without what scheduling does not read."""
    for entry in serialized["dag"]["tasks"]:
        for name in DROPPED:
            entry["__var"].pop(name, None)
            entry["__var"].get("partial_kwargs", {}).pop(name, None)
    return serialized


count = int(sys.argv[1]) if len(sys.argv) > 1 else 40
first = int(sys.argv[2]) if len(sys.argv) > 2 else 1
target = pathlib.Path(sys.argv[3]) if len(sys.argv) > 3 else pathlib.Path(__file__).with_name("replay.jsonl")
lines, seed, skipped = [], first, 0
while len(lines) < count:
    try:
        lines.append(json.dumps(play(seed), separators=(",", ":")))
    except Exception as error:  # not every random DAG is a DAG
        session.rollback()
        skipped += 1
        if skipped > 3 * count + 20:
            raise
        print(seed, type(error).__name__, str(error)[:200], file=sys.stderr)
    seed += 1
target.write_text("\n".join(lines) + "\n")
