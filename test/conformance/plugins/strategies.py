"""Weights of the users' own."""
from airflow.plugins_manager import AirflowPlugin
from airflow.task.priority_strategy import PriorityWeightStrategy


class Later(PriorityWeightStrategy):
    """The later the try, the lighter."""

    def get_weight(self, ti):
        return max(30 - 10 * (ti.try_number or 0), 1)


class Heaviest(PriorityWeightStrategy):
    """Before most; of its weight it takes the double."""

    def get_weight(self, ti):
        return 30 + 2 * ti.task.priority_weight + len(ti.task_id)


class Strategies(AirflowPlugin):
    name = "strategies"
    priority_weight_strategies = [Later, Heaviest]
