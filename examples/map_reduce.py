"""Dynamic task mapping: as many task instances as there are words lists, then one that adds up."""

from __future__ import annotations

from collections import Counter

from airflow.sdk import dag, task

TEXTS = [
    "the quick brown fox jumps over the lazy dog",
    "the dog sleeps and the fox runs",
    "a quick dog is a happy dog",
]


@dag(schedule=None, tags=["example", "mapping"])
def map_reduce():
    @task
    def texts() -> list[str]:
        return TEXTS

    @task(map_index_template="{{ text[:20] }}")
    def count_words(text: str) -> dict[str, int]:
        return dict(Counter(text.split()))

    @task
    def most_common(counts: list[dict[str, int]]) -> list[tuple[str, int]]:
        total: Counter[str] = Counter()
        for count in counts:
            total.update(count)
        for word, number in total.most_common(3):
            print(f"{word}: {number}")
        return total.most_common(3)

    most_common(count_words.expand(text=texts()))


map_reduce()
