from airflow.sdk import DAG

with DAG("invalid_cron", schedule="61 * * * *"):
    pass
