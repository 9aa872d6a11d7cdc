"""Schedules, as far as they lie in the past."""
import datetime

import pendulum
from acts import START, empty
from airflow.sdk import DAG
from airflow.timetables.trigger import CronTriggerTimetable, DeltaTriggerTimetable, MultipleCronTriggerTimetable
from airflow.timetables.interval import CronDataIntervalTimetable, DeltaDataIntervalTimetable
from dateutil.relativedelta import relativedelta

DAYS = datetime.timedelta(days=3)
BERLIN = pendulum.timezone("Europe/Berlin")
DST = pendulum.datetime(2024, 3, 30, tz=BERLIN)
schedules = {
    "daily": "@daily",
    "hourly": "0 */12 * * *",
    "delta": datetime.timedelta(hours=18),
    "relative": relativedelta(days=1, hours=2),
    "once": "@once",
    "cron_trigger": CronTriggerTimetable("30 5 * * *", timezone="UTC"),
    "cron_trigger_interval": CronTriggerTimetable("30 5 * * *", timezone="UTC", interval=datetime.timedelta(hours=3)),
    "cron_interval": CronDataIntervalTimetable("15 3 * * *", timezone="America/New_York"),
    "delta_trigger": DeltaTriggerTimetable(datetime.timedelta(hours=20)),
    "delta_interval": DeltaDataIntervalTimetable(datetime.timedelta(hours=20)),
    "many_crons": MultipleCronTriggerTimetable("0 6 * * *", "30 17 * * *", timezone="UTC"),
}
for name, schedule in schedules.items():
    with DAG(f"schedule_{name}", start_date=START, end_date=START + DAYS, schedule=schedule, catchup=True):
        empty("a")

for name, schedule in {"cron": "30 2 * * *", "trigger": CronTriggerTimetable("30 2 * * *", timezone=BERLIN), "hours": "0 */6 * * *"}.items():
    with DAG(f"schedule_dst_{name}", start_date=DST, end_date=DST.add(days=2), schedule=schedule, catchup=True):
        empty("a")

with DAG("schedule_autumn", start_date=pendulum.datetime(2024, 10, 26, tz=BERLIN), end_date=pendulum.datetime(2024, 10, 29, tz=BERLIN), schedule="30 2 * * *", catchup=True):
    empty("a")
