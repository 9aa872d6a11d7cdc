"""What Airflow's own partition mappers make of keys. Run with Airflow's Python: python vectors.py > vectors.json"""

from __future__ import annotations

import json
from typing import Any

from airflow.partition_mappers import (
    AllowedKeyMapper,
    ChainMapper,
    DayWindow,
    FanOutMapper,
    FixedKeyMapper,
    HourWindow,
    IdentityMapper,
    MinimumCount,
    MonthWindow,
    ProductMapper,
    QuarterWindow,
    RollupMapper,
    SegmentWindow,
    StartOfDayMapper,
    StartOfHourMapper,
    StartOfMonthMapper,
    StartOfQuarterMapper,
    StartOfWeekMapper,
    StartOfYearMapper,
    WeekWindow,
    Window,
    YearWindow,
)
from airflow.serialization.encoders import encode_partition_mapper

PERIODS = [
    StartOfHourMapper,
    StartOfDayMapper,
    StartOfWeekMapper,
    StartOfMonthMapper,
    StartOfQuarterMapper,
    StartOfYearMapper,
]
ZONES = ["UTC", "Europe/Paris", "America/New_York", "Asia/Kathmandu"]
TIMES = [
    "2024-03-10T02:30:00",
    "2024-11-03T01:30:00",
    "2024-03-31T02:15:59",
    "2024-12-30T23:59:59",
    "2024-02-29T00:00:00",
    "2021-01-03T12:00:00",
    "not a time",
    "2024-02-30T00:00:00",
    "2024-02-29T00:00:00Z",
]
BACKWARD = {"direction": Window.Direction.BACKWARD}
WINDOWS = [
    (StartOfHourMapper, HourWindow, "%Y-%m-%dT%H:%M", "2024-03-10T05"),
    (StartOfDayMapper, DayWindow, "%Y-%m-%dT%H", "2024-03-10"),
    (StartOfWeekMapper, WeekWindow, "%Y-%m-%d", "2024-12-30 (W01)"),
    (StartOfMonthMapper, MonthWindow, "%Y-%m-%d", "2024-03"),
    (StartOfQuarterMapper, QuarterWindow, "%Y-%m", "2024-Q4"),
    (StartOfYearMapper, YearWindow, "%Y-%m", "2024"),
]


def attempt(work: Any) -> Any:
    try:
        result = work()
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    if hasattr(result, "astimezone"):
        return result.astimezone(__import__("datetime").timezone.utc).isoformat()
    return sorted(result) if isinstance(result, (set, frozenset)) else result


def vector(mapper: Any, keys: list[str], downstream: list[str] | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"mapper": encode_partition_mapper(mapper), "keys": {}, "dates": {}}
    for key in keys:
        made["keys"][key] = attempt(lambda: mapper.to_downstream(key))
        mapped = made["keys"][key]
        for one in [mapped] if isinstance(mapped, str) else mapped if isinstance(mapped, list) else []:
            made["dates"][one] = attempt(lambda: mapper.to_partition_date(one))
    if mapper.is_rollup:
        made["upstream"] = {key: attempt(lambda: mapper.to_upstream(key)) for key in downstream or []}
    return made


def main() -> None:
    vectors = [vector(period(timezone=zone), TIMES) for period in PERIODS for zone in ZONES]
    vectors += [
        vector(StartOfDayMapper(timezone="Europe/Paris", input_format="%Y-%m-%dT%H:%M:%S%z", output_format="%d.%m.%y"), TIMES),
        vector(StartOfHourMapper(timezone="Europe/Paris", output_format="%Y-%m-%dT%H%z"), TIMES),
        vector(StartOfMonthMapper(input_format="%d %B %Y", output_format="%b %Y"), ["1 May 2024", "31 june 2024", "5 Sept 2024"]),
        vector(StartOfQuarterMapper(output_format="{quarter}/%Y"), TIMES[:3]),
        vector(StartOfWeekMapper(output_format="%Y.%m.%d"), TIMES[:3]),
        vector(StartOfWeekMapper(output_format="%V"), TIMES[:1]),
        vector(IdentityMapper(), ["a", "2024-01-01"]),
        vector(FixedKeyMapper("all"), ["us", "eu"]),
        vector(AllowedKeyMapper(["us", "eu"]), ["us", "asia"]),
        vector(ChainMapper(StartOfHourMapper(), StartOfDayMapper(input_format="%Y-%m-%dT%H")), TIMES[:4]),
        vector(ProductMapper(IdentityMapper(), StartOfDayMapper()), ["us|2024-03-10T02:30:00", "us", "us|x"]),
        vector(ProductMapper(StartOfDayMapper(), StartOfDayMapper(), delimiter="~"), ["2024-03-10T02:30:00~2024-03-10T02:30:00"]),
        vector(
            RollupMapper(upstream_mapper=FixedKeyMapper("all"), window=SegmentWindow(["us", "eu"])), ["us", "x"], ["all"]
        ),
        vector(
            RollupMapper(
                upstream_mapper=StartOfDayMapper(timezone="America/New_York", input_format="%Y-%m-%dT%H"),
                window=DayWindow(),
                wait_policy=MinimumCount(-2),
            ),
            ["2024-03-10T05"],
            ["2024-03-10", "2024-11-03", "x"],
        ),
        vector(ChainMapper(IdentityMapper(), FanOutMapper(upstream_mapper=StartOfWeekMapper(), window=WeekWindow())), TIMES[:3]),
        vector(ProductMapper(IdentityMapper(), FanOutMapper(upstream_mapper=StartOfWeekMapper(), window=WeekWindow())), ["a|2024-03-10T02:30:00"]),
    ]
    for period, window, format, key in WINDOWS:
        for options in ({}, BACKWARD):
            vectors.append(
                vector(
                    RollupMapper(upstream_mapper=period(input_format=format), window=window(**options)),
                    TIMES[:1],
                    [key, "nonsense"],
                )
            )
            downstream = {"downstream_mapper": StartOfHourMapper(output_format="%H:%M")} if window is HourWindow else {}
            vectors.append(
                vector(FanOutMapper(upstream_mapper=period(), window=window(**options), **downstream), TIMES[:2])
            )
    vectors.append(
        vector(
            FanOutMapper(upstream_mapper=StartOfDayMapper(), window=DayWindow(), downstream_mapper=IdentityMapper()), TIMES[:1]
        )
    )
    print(json.dumps(vectors, separators=(",", ":")))


if __name__ == "__main__":
    main()
