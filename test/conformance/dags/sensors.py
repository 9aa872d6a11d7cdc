"""Sensors."""
import datetime

from acts import NO_DELAY, START, empty, step
from airflow.providers.standard.sensors.bash import BashSensor
from airflow.providers.standard.sensors.python import PythonSensor
from airflow.sdk import DAG, BaseSensorOperator, PokeReturnValue, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout, AirflowSkipException

with DAG("sensors_poke", start_date=START, schedule=None):
    quick = {"poke_interval": 0.2, "timeout": 1}

    def throw(error):
        raise error

    PythonSensor(task_id="well", python_callable=lambda: True, **quick) >> empty("after_well")
    PythonSensor(task_id="times_out", python_callable=lambda: False, retries=2, **quick) >> empty("after_timeout")
    PythonSensor(task_id="soft", python_callable=lambda: False, soft_fail=True, **quick) >> empty("after_soft")
    PythonSensor(task_id="raises", python_callable=throw, op_args=[ValueError("x")], **quick)
    PythonSensor(task_id="raises_soft", python_callable=throw, op_args=[ValueError("x")], soft_fail=True, **quick)
    PythonSensor(task_id="raises_skips", python_callable=throw, op_args=[ValueError("x")], never_fail=True, **quick)
    PythonSensor(task_id="never_fails", python_callable=lambda: False, never_fail=True, **quick)
    PythonSensor(task_id="skips", python_callable=throw, op_args=[AirflowSkipException("x")], **quick)
    PythonSensor(task_id="fails_for_good", python_callable=throw, op_args=[AirflowFailException("x")], retries=1, retry_delay=NO_DELAY, **quick)
    PythonSensor(task_id="silent", python_callable=throw, op_args=[ValueError("x")], silent_fail=True, **quick)
    PythonSensor(task_id="raised_timeout", python_callable=throw, op_args=[AirflowSensorTimeout("x")], retries=1, **quick)
    BashSensor(task_id="bash", bash_command="exit 0", **quick)
    BashSensor(task_id="bash_skips", bash_command="exit 99", **quick)
    BashSensor(task_id="bash_fails", bash_command="exit 5", retry_exit_code=1, **quick)

with DAG("sensors_reschedule", start_date=START, schedule=None):
    quick = {"poke_interval": 8, "timeout": 3600, "mode": "reschedule"}

    def third_time(ti):
        from airflow.sdk import Variable

        pokes = (ti.xcom_pull(task_ids=ti.task_id, key="pokes") or 0) + 1
        return ti.task_reschedule_count >= 2 if hasattr(ti, "task_reschedule_count") else pokes > 2

    PythonSensor(task_id="third", python_callable=lambda ti: (ti._ti_context_from_server.task_reschedule_count or 0) >= 2, **quick) >> step("after")
    PythonSensor(task_id="at_once", python_callable=lambda: True, **quick)
    PythonSensor(task_id="times_out", python_callable=lambda: False, retries=1, **{**quick, "timeout": 2}) >> empty("after_timeout")
    PythonSensor(task_id="soft", python_callable=lambda: False, soft_fail=True, **{**quick, "timeout": 2}) >> empty("after_soft")

with DAG("sensors_values", start_date=START, schedule=None):

    @task.sensor(poke_interval=0.2, timeout=5)
    def found():
        return PokeReturnValue(is_done=True, xcom_value={"n": 3})

    @task
    def use(value):
        return value["n"]

    use(found())

    @task.sensor(poke_interval=4, timeout=5, mode="reschedule")
    def plain():
        return True

    plain()

with DAG("sensors_mapped", start_date=START, schedule=None):
    PythonSensor.partial(task_id="s", python_callable=lambda x: x, poke_interval=0.2, timeout=1, soft_fail=True).expand(op_args=[[True], [False]]) >> empty(
        "after", trigger_rule="none_failed"
    )
    PythonSensor.partial(task_id="r", python_callable=lambda x: x, poke_interval=4, timeout=1.5, mode="reschedule").expand(op_args=[[True], [False]])
