"""A DAG of Airflow that cannot be imported."""

raise ImportError("this file is broken on purpose")
