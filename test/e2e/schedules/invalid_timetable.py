from timetables import Invalid

from airflow.sdk import DAG

with DAG("invalid_timetable", schedule=Invalid()):
    pass
