"""chaos.virtualtime.clocks: every clock of a client tells the run's time, wherever it was imported."""

import datetime
import logging
import pickle
import time
from collections.abc import Callable
from datetime import date as early_date
from datetime import datetime as early_datetime
from time import gmtime as early_gmtime
from time import monotonic as early_monotonic
from time import sleep as early_sleep
from time import time as early_time
from typing import Any

import pytest

from cacheproof.chaos.virtualtime.clocks import to_ns
from cacheproof.chaos.virtualtime.installation import go_by_clock_of
from cacheproof.chaos.virtualtime.membership import RUN

START = 1_577_836_800
SECOND = 10**9


def tell_everything() -> dict[str, float]:
    return {
        "time": time.time(),
        "time_ns": time.time_ns(),
        "monotonic": time.monotonic(),
        "monotonic_ns": time.monotonic_ns(),
        "perf_counter": time.perf_counter(),
        "perf_counter_ns": time.perf_counter_ns(),
        "realtime": time.clock_gettime(time.CLOCK_REALTIME),
        "realtime_ns": time.clock_gettime_ns(time.CLOCK_REALTIME),
        "boot": time.clock_gettime(time.CLOCK_BOOTTIME),
    }


def tell_twice() -> list[dict[str, float]]:
    before = tell_everything()
    time.sleep(90.25)
    return [before, tell_everything()]


def test_clocks(run: Any) -> None:
    """Every clock stands at its start when the run starts, and has moved by a sleep afterwards, exactly."""
    outcome = run(tell_twice)
    before, after = outcome.value
    starts = {
        **dict.fromkeys(["time", "realtime"], START),
        **dict.fromkeys(["time_ns", "realtime_ns"], START * SECOND),
        **dict.fromkeys(["monotonic", "perf_counter", "boot"], 100_000),
        **dict.fromkeys(["monotonic_ns", "perf_counter_ns"], 100_000 * SECOND),
    }
    assert before == starts
    assert after == {k: v + (90_250_000_000 if k.endswith("_ns") else 90.25) for k, v in starts.items()}
    assert outcome.wakes_ns == [90_250_000_000]


def tell_calendar() -> list[str]:
    time.sleep(86_400 + 1.5)
    return [
        time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()),
        time.strftime("%Y-%m-%d"),
        time.ctime(),
        time.asctime(),
        str(time.localtime() == time.localtime(time.time())),
        datetime.datetime.now(datetime.UTC).isoformat(),
        str(datetime.datetime.now() == datetime.datetime.fromtimestamp(time.time())),
        str(datetime.datetime.today() == datetime.datetime.now()),  # noqa: DTZ002  # it is what is tested
        str(datetime.date.today() == datetime.datetime.now().date()),
    ]


def test_calendar(run: Any) -> None:
    """Dates, and the calendar functions called without a time, follow the same clock."""
    value = run(tell_calendar).value
    assert value[0] == "2020-01-02T00:00:01"
    assert value[1].startswith("2020-01-0")
    assert value[2] == value[3] and value[2].endswith(" 2020")
    assert value[5] == "2020-01-02T00:00:01.500000+00:00"
    assert [value[at] for at in (4, 6, 7, 8)] == ["True"] * 4


def early_default(timer: Callable[[], float] = time.monotonic) -> float:
    return timer()


def early_keyword(*, timer: Callable[[], float] = time.monotonic) -> float:
    return timer()


class EarlyAttribute:
    timer: Any = time.monotonic


class EarlyInstance:
    def __init__(self) -> None:
        self.timer = time.monotonic


EARLY = EarlyInstance()


def enclose(timer: Callable[[], float]) -> Callable[[], float]:
    return lambda: timer()


early_closure = enclose(time.monotonic)


def tell_early() -> list[Any]:
    for _ in range(100):  # long enough for the interpreter to have specialised the calls
        EarlyAttribute().timer()
    early_sleep(8)
    return [
        early_time(),
        early_monotonic(),
        early_default(),
        early_keyword(),
        EarlyAttribute().timer(),
        EarlyAttribute.timer(),
        EARLY.timer(),
        early_closure(),
        early_gmtime().tm_sec,
        early_datetime.now(datetime.UTC).second,
        early_date.today().year,
    ]


def test_early_references(run: Any) -> None:
    """What held on to a clock before virtual time was installed has the run's clock, too."""
    assert run(tell_early).value == [START + 8, *[100_008] * 7, 8, 8, early_date(2020, 1, 1).year]


class Moment(datetime.datetime):
    pass


def use_datetime() -> list[bool]:
    now = datetime.datetime.now()
    moment = Moment.now()
    return [
        type(now) is datetime.datetime is early_datetime,
        isinstance(now, early_datetime) and isinstance(early_datetime(2020, 1, 1), datetime.datetime),
        type(moment) is Moment and type(Moment.today()) is Moment,
        pickle.loads(pickle.dumps(now)) == now,
        b"cacheproof" not in pickle.dumps(now),
        datetime.datetime.now(datetime.timezone(datetime.timedelta(hours=9))).utcoffset()
        == datetime.timedelta(hours=9),
        getattr(datetime.datetime, "utcnow")() == datetime.datetime.now(datetime.UTC).replace(tzinfo=None),  # noqa: B009  # calling it by name is a warning on newer Pythons
    ]


def test_datetime_stays_itself(run: Any) -> None:
    """Classes, subclasses, instance checks, pickles and time zones of datetime are what they were."""
    assert run(use_datetime).value == [True] * 7


class Formatter(logging.Formatter):
    converter: Any = time.gmtime


def format_a_record() -> str:
    record = logging.LogRecord("a", logging.INFO, "f", 1, "m", (), None)
    return Formatter("%(asctime)s").format(record)


def late_class_body() -> list[Any]:
    class Late:
        timer: Any = time.monotonic
        converter: Any = time.gmtime

    return [Late().timer(), Late().converter(0).tm_year, format_a_record()]


def test_class_bodies(run: Any) -> None:
    """A clock in a class body is a plain callable, as the builtin is, and not turned into a method."""
    assert run(late_class_body).value == [100_000, 1970, "2020-01-01 00:00:00,000"]


def odd_sleeps() -> list[str]:
    found = []
    time.sleep(0)
    for seconds in (-1, float("nan"), float("inf"), "1", None):
        try:
            time.sleep(seconds)  # type: ignore[arg-type]
        except (ValueError, OverflowError, TypeError) as error:
            found.append(type(error).__name__)
    return found


def test_odd_sleeps(run: Any) -> None:
    """sleep(0) does not wait for the director, and what cannot be slept is refused as ever."""
    outcome = run(odd_sleeps)
    assert outcome.value == ["ValueError", "ValueError", "OverflowError", "TypeError", "TypeError"]
    assert outcome.wakes_ns == []


def tell_real() -> list[bool]:
    before = time.monotonic_ns()
    time.sleep(0.000_001)
    fields = [time.time(), time.time_ns() / SECOND, time.clock_gettime(time.CLOCK_REALTIME)]
    return [
        time.monotonic_ns() > before,
        time.perf_counter_ns() < time.perf_counter_ns(),
        time.perf_counter() <= time.perf_counter() and time.monotonic() <= time.monotonic(),
        max(fields) - min(fields) < 60 and min(fields) > START,
        time.clock_gettime_ns(time.CLOCK_MONOTONIC) >= before,
        datetime.date.today().year > 2020 and time.gmtime().tm_year > 2020,
    ]


def test_outside_a_run(run: Any) -> None:
    """A process that never attached has real clocks and real sleeps."""
    assert run(tell_real, attached=False).value == [True] * 6


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, 0),
        (0.0, 0),
        (1, SECOND),
        (0.1, 100_000_000),
        (0.3, 300_000_000),
        (1e-12, 1),
        (-1.5, -1_500_000_000),
    ],
)
def test_to_ns(seconds: float, expected: int) -> None:
    """Durations are rounded to the nearest nanosecond, and a positive one is never nothing."""
    assert to_ns(seconds) == expected


def test_to_ns_refuses_what_is_too_long() -> None:
    """A duration that the clock could not hold is refused in words."""
    with pytest.raises(OverflowError, match="too long; give at most"):
        to_ns(1e15)


def tell_walls() -> list[list[float | str]]:
    """All that a wall clock says, by the clock of nobody in particular, of client 3, and of client 0 again."""
    told: list[list[float | str]] = []
    for client, ahead_ns in ((0, 0), (3, 60 * SECOND), (3, -3600 * SECOND), (0, 0)):
        RUN.clock.set_skew_ns(3, ahead_ns)  # type: ignore[union-attr]  # in a run there is one
        go_by_clock_of(client)
        told.append([time.time() - START, time.clock_gettime(time.CLOCK_TAI) - START, time.monotonic()])
        told[-1] += [early_time() - START, early_datetime.now(datetime.UTC).isoformat(), time.ctime()[11:19]]
    return told


def test_a_wall_clock_is_off_and_no_other(run: Any) -> None:
    """`time.time` and the calendar, however they were imported; what measures is the same for all."""
    zero, ahead, behind, again = run(tell_walls).value
    assert [row[:4] for row in (zero, ahead, behind, again)] == [
        [0, 0, 100_000, 0],
        [60, 60, 100_000, 60],
        [-3600, -3600, 100_000, -3600],
        [0, 0, 100_000, 0],
    ]
    assert (ahead[4], behind[4]) == ("2020-01-01T00:01:00+00:00", "2019-12-31T23:00:00+00:00")
    assert zero == again and zero[5] != ahead[5]
