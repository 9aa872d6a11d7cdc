"""Writes cron.vectors: what croniter makes of random expressions. Run like vectors.py."""
import datetime
import json
import pathlib
import random

from croniter import croniter

pick = random.Random(5)
MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
DAYS = "sun mon tue wed thu fri sat".split()


def value(low, high, names):
    return pick.choice(names) if names and pick.random() < 0.3 else str(pick.randint(low, high))


def element(low, high, names):
    one, other = value(low, high, names), value(low, high, names)
    shapes = ["*", one, f"{one}-{other}", f"*/{pick.randint(1, high)}", f"{one}-{other}/{pick.randint(1, 7)}", f"{one}/{pick.randint(1, 9)}"]
    return pick.choices(shapes, weights=[35, 25, 15, 10, 8, 7])[0]


def field(low, high, names=()):
    return ",".join(element(low, high, names) for _ in range(pick.choice([1, 1, 1, 2, 3])))


def day_of_month():
    shapes = [field(1, 31), "L", f"{pick.randint(1, 31)}W", "?", "15,L"]
    return pick.choices(shapes, weights=[82, 6, 6, 3, 3])[0]


def day_of_week():
    nth = f"{pick.randint(0, 6)}#{pick.randint(1, 5)}"
    shapes = [field(0, 7, DAYS), nth, f"L{pick.randint(0, 6)}", f"{pick.choice(DAYS)}#{pick.randint(1, 5)},{nth}"]
    return pick.choices(shapes, weights=[88, 6, 4, 2])[0]


def expression():
    fields = [field(0, 59), field(0, 23), day_of_month(), field(1, 12, MONTHS), day_of_week()]
    if pick.random() < 0.15:
        fields.append(field(0, 59))
        if pick.random() < 0.4:
            fields.append(field(2020, 2040))
    return " ".join(fields)


def moment():
    at = datetime.datetime(2020, 1, 1) + datetime.timedelta(seconds=pick.randint(0, 12 * 365 * 86400), microseconds=pick.choice([0, 0, 5]))
    return at.replace(second=0, microsecond=0) if pick.random() < 0.3 else at


def vector(text, at):
    answers = []
    for ask in ("get_next", "get_prev"):
        try:
            answers.append(getattr(croniter(text, start_time=at), ask)(datetime.datetime).isoformat())
        except ValueError as error:
            answers.append(f"!{type(error).__name__}")
    try:
        covers_every_hour = croniter(text).expanded[1] == ["*"]
    except ValueError:
        covers_every_hour = None
    return [text, at.isoformat(), *answers, covers_every_hour]


lines = [json.dumps(vector(expression(), moment())) + "\n" for _ in range(600)]
pathlib.Path(__file__).with_name("cron.vectors").write_text("".join(lines))
