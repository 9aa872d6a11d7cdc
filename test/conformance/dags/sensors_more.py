"""More sensors."""
import datetime

from acts import NO_DELAY, START, empty, step
from airflow.providers.standard.sensors.date_time import DateTimeSensor
from airflow.providers.standard.sensors.filesystem import FileSensor
from airflow.providers.standard.sensors.python import PythonSensor
from airflow.providers.standard.sensors.time_delta import TimeDeltaSensor
from airflow.providers.standard.sensors.weekday import DayOfWeekSensor
from airflow.sdk import DAG, BaseSensorOperator, PokeReturnValue, task, task_group
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException


# Sooner, Airflow's executor may tell of the poke before only when the next is queued, which it takes for a failure.
RESCHEDULE = 4


class AfterPokes(BaseSensorOperator):
    """Counts its pokes in the task state store, as a rescheduled sensor starts anew each time."""

    def __init__(self, pokes, **arguments):
        super().__init__(**arguments)
        self.pokes = pokes

    def poke(self, context):
        store = context["task_state_store"]
        count = (store.get("pokes") or 0) + 1
        store.set("pokes", count)
        return PokeReturnValue(is_done=count >= self.pokes, xcom_value=count)


with DAG("sensors_exponential", start_date=START, schedule=None):
    backoff = {"exponential_backoff": True, "poke_interval": 0.2, "timeout": 600}
    AfterPokes(task_id="poke", pokes=3, **backoff) >> empty("after_poke")
    AfterPokes(task_id="reschedule", pokes=2, mode="reschedule", **{**backoff, "poke_interval": RESCHEDULE}) >> empty("after_reschedule")
    AfterPokes(task_id="capped", pokes=4, max_wait=datetime.timedelta(seconds=0.3), **{**backoff, "poke_interval": 0.1})

with DAG("sensors_soft", start_date=START, schedule=None):
    quick = {"poke_interval": 0.2, "timeout": 1, "soft_fail": True}

    def throw(error):
        raise error

    PythonSensor(task_id="skips", python_callable=throw, op_args=[AirflowSkipException("x")], **quick) >> empty("after_skip")
    PythonSensor(task_id="fails_for_good", python_callable=throw, op_args=[AirflowFailException("x")], **quick) >> empty("after_failure")
    PythonSensor(task_id="with_retries", python_callable=lambda: False, retries=2, retry_delay=NO_DELAY, **quick)
    PythonSensor(task_id="raises_with_retries", python_callable=throw, op_args=[ValueError("x")], retries=2, retry_delay=NO_DELAY, **quick)
    PythonSensor(task_id="reschedules", python_callable=lambda: False, mode="reschedule", **{**quick, "poke_interval": RESCHEDULE})

with DAG("sensors_of_times", start_date=START, schedule=None):
    DateTimeSensor(task_id="past", target_time="2024-01-01T00:00:00+00:00", poke_interval=0.2)
    DateTimeSensor(task_id="templated", target_time="{{ macros.datetime(2024, 1, 1) }}", poke_interval=0.2, mode="reschedule")
    DateTimeSensor(task_id="future", target_time="2124-01-01T00:00:00+00:00", poke_interval=0.2, timeout=1)
    TimeDeltaSensor(task_id="delta", delta=datetime.timedelta(days=-1), poke_interval=0.2)
    DayOfWeekSensor(task_id="weekday", week_day={"Wednesday"}, use_task_logical_date=True, poke_interval=0.2, timeout=1)
    DayOfWeekSensor(task_id="other_weekday", week_day={"Monday"}, use_task_logical_date=True, poke_interval=0.2, timeout=1, soft_fail=True)

with DAG("sensors_of_files", start_date=START, schedule=None):
    FileSensor(task_id="there", filepath="/etc/passwd", fs_conn_id="files", poke_interval=0.2, timeout=1)
    FileSensor(task_id="not_there", filepath="/etc/no-such-file", fs_conn_id="files", poke_interval=0.2, timeout=1)
    FileSensor(task_id="no_connection", filepath="/etc/passwd", fs_conn_id="no_such_connection", poke_interval=0.2, timeout=1)

with DAG("sensors_in_groups", start_date=START, schedule=None):

    @task_group
    def group(pokes):
        AfterPokes(task_id="waits", pokes=2, poke_interval=RESCHEDULE, mode="reschedule", timeout=600) >> step("then")

    group.expand(pokes=[1, 2])

    @task.sensor(poke_interval=RESCHEDULE, timeout=600, mode="reschedule")
    def on_each(x, task_state_store):
        count = (task_state_store.get("pokes") or 0) + 1
        task_state_store.set("pokes", count)
        return PokeReturnValue(is_done=count >= x, xcom_value=[x, count])

    on_each.expand(x=[1, 2])
