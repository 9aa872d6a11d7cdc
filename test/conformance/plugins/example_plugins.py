"""Airflow loads the plugins of its examples only with the examples."""
from airflow.example_dags.plugins.decreasing_priority_weight_strategy import DecreasingPriorityWeightStrategyPlugin
from airflow.example_dags.plugins.workday import WorkdayTimetablePlugin

__all__ = ["DecreasingPriorityWeightStrategyPlugin", "WorkdayTimetablePlugin"]
