"""The clocks of a client: `time`, `datetime`, and `time.sleep`.

Two constants tie them to the run: `time.time` starts at EPOCH_NS, `time.monotonic` at MONOTONIC_NS.

The replacements are bound methods, not functions: like a builtin, and unlike a function, a bound method
that is put into a class body (`converter = time.gmtime`) does not become a method of that class.
"""

import datetime
import operator
import time
import types
from collections.abc import Iterable
from time import struct_time
from typing import Any

from cacheproof.chaos.clock import EPOCH_NS, MONOTONIC_NS, RunClock
from cacheproof.chaos.rebinding import rebind, replace_method
from cacheproof.chaos.virtualtime.membership import RUN

__all__ = ["install_clocks", "to_ns"]

_NS = 10**9
_MAX_NS = 2**62

_WALLS = frozenset({time.CLOCK_REALTIME, time.CLOCK_TAI})

_STARTS = {
    time.CLOCK_REALTIME: EPOCH_NS,
    time.CLOCK_TAI: EPOCH_NS,
    time.CLOCK_MONOTONIC: MONOTONIC_NS,
    time.CLOCK_MONOTONIC_RAW: MONOTONIC_NS,
    time.CLOCK_BOOTTIME: MONOTONIC_NS,
}


def to_ns(seconds: float) -> int:
    """A duration in whole nanoseconds, rounded to the nearest, but at least 1 if it is positive at all.

    So a wait for what is left of a time limit always ends, however little the floats have left of it.
    Raises TypeError, ValueError or OverflowError for what the time functions of Python do not take either.
    """
    nanoseconds = round(seconds * _NS) if isinstance(seconds, float) else operator.index(seconds) * _NS
    if abs(nanoseconds) > _MAX_NS:
        raise OverflowError(f"duration {seconds!r} s is too long; give at most {_MAX_NS // _NS} s")
    return nanoseconds if nanoseconds or seconds <= 0 else 1


def _wall_ns(clock: RunClock) -> int:
    """What the wall clock of this client says, in unix nanoseconds: it may be skewed, others never are."""
    return EPOCH_NS + clock.now_ns + clock.skew_ns(RUN.client)


class _Clocks:
    """The replacements in module `time`, each named after what it replaces.

    `real` is a module with the originals, which serve processes outside any run.
    """

    def __init__(self, real: Any) -> None:
        self._real = real

    def time(self) -> float:
        clock = RUN.clock
        return _wall_ns(clock) / _NS if clock else float(self._real.time())

    def time_ns(self) -> int:
        clock = RUN.clock
        return _wall_ns(clock) if clock else int(self._real.time_ns())

    def monotonic(self) -> float:
        clock = RUN.clock
        return (MONOTONIC_NS + clock.now_ns) / _NS if clock else float(self._real.monotonic())

    def monotonic_ns(self) -> int:
        clock = RUN.clock
        return MONOTONIC_NS + clock.now_ns if clock else int(self._real.monotonic_ns())

    def perf_counter(self) -> float:
        clock = RUN.clock
        return (MONOTONIC_NS + clock.now_ns) / _NS if clock else float(self._real.perf_counter())

    def perf_counter_ns(self) -> int:
        clock = RUN.clock
        return MONOTONIC_NS + clock.now_ns if clock else int(self._real.perf_counter_ns())

    def clock_gettime(self, clk_id: int, /) -> float:
        clock = RUN.clock
        if clock is None or clk_id not in _STARTS:
            return float(self._real.clock_gettime(clk_id))
        return self._reading_ns(clk_id, clock) / _NS

    def clock_gettime_ns(self, clk_id: int, /) -> int:
        clock = RUN.clock
        if clock is None or clk_id not in _STARTS:
            return int(self._real.clock_gettime_ns(clk_id))
        return self._reading_ns(clk_id, clock)

    def _reading_ns(self, clk_id: int, clock: RunClock) -> int:
        return _wall_ns(clock) if clk_id in _WALLS else _STARTS[clk_id] + clock.now_ns

    def sleep(self, seconds: float, /) -> None:
        clock = RUN.clock
        if clock is None or (delay_ns := to_ns(seconds)) <= 0:
            self._real.sleep(seconds)
        else:
            RUN.channel().sleep_until(clock.now_ns + delay_ns)

    def gmtime(self, seconds: float | None = None, /) -> struct_time:
        return self._real.gmtime(self._now_s() if seconds is None else seconds)  # type: ignore[no-any-return]

    def localtime(self, seconds: float | None = None, /) -> struct_time:
        return self._real.localtime(self._now_s() if seconds is None else seconds)  # type: ignore[no-any-return]

    def ctime(self, seconds: float | None = None, /) -> str:
        return str(self._real.ctime(self._now_s() if seconds is None else seconds))

    def asctime(self, *moment: Any) -> str:
        return str(self._real.asctime(*(moment or (self.localtime(),))))

    def strftime(self, format: str, *moment: Any) -> str:
        return str(self._real.strftime(format, *(moment or (self.localtime(),))))

    def _now_s(self) -> int:
        return self.time_ns() // _NS


_REPLACED = tuple(name for name in vars(_Clocks) if not name.startswith("_"))


def install_clocks(keep_real_in: Iterable[types.ModuleType]) -> None:
    """Replace the clocks everywhere but in the modules `keep_real_in`; to be called once a process."""
    real = types.ModuleType("time", "the clocks of the machine")
    vars(real).update(vars(time))
    clocks = _Clocks(real)
    namespaces = [vars(module) for module in keep_real_in]
    rebind(
        {getattr(time, name): getattr(clocks, name) for name in _REPLACED},
        except_in=[vars(real), *namespaces],
    )
    for namespace in namespaces:
        if namespace.get("time") is time:
            namespace["time"] = real
    _install_datetime(clocks)


def _install_datetime(clocks: _Clocks) -> None:
    time_ns, utc, moment = clocks.time_ns, datetime.UTC, datetime.datetime

    def now(cls: type[datetime.datetime], tz: datetime.tzinfo | None = None) -> datetime.datetime:
        seconds, nanoseconds = divmod(time_ns(), _NS)
        return cls.fromtimestamp(seconds, tz).replace(microsecond=nanoseconds // 1000)

    def utcnow(cls: type[datetime.datetime]) -> datetime.datetime:
        return now(cls, utc).replace(tzinfo=None)

    def today(cls: type[datetime.date]) -> datetime.date:
        return now(cls) if issubclass(cls, moment) else cls.fromtimestamp(time_ns() // _NS)

    replace_method(datetime.datetime, "now", classmethod(now))
    replace_method(datetime.datetime, "utcnow", classmethod(utcnow))
    replace_method(datetime.date, "today", classmethod(today))
