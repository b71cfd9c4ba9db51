"""Scales: where a number lies on an axis, and which numbers are written beside it.

    linear   0 … 97       ticks 0, 20, 40, 60, 80, 100     the range grows to whole steps of 1, 2 or 5 · 10ⁿ
    log      0.9 … 5,000  ticks 0.1, 1, 10, 100, 1,000, 10,000   to whole decades, with lines at 2 … 9 between

A scale maps its range to [0, 1]; what that is in points on the page is the business of whoever draws.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

from cacheproof.models.errors import UsageError

__all__ = ["Scale", "linear_scale", "log_scale", "number_text"]

_STEPS = (1, 2, 5, 10)


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis from `low` to `high`.  `ticks` are labelled, `minor` are not; `log` says how the way between grows."""

    low: float
    high: float
    ticks: tuple[float, ...]
    minor: tuple[float, ...] = ()
    log: bool = False

    def at(self, value: float) -> float:
        """The place of a value: 0 at `low`, 1 at `high`.  Values beyond lie outside of that."""
        if self.log:
            return log10(value / self.low) / log10(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def linear_scale(values: Iterable[float], *, ticks: int = 5, low: float | None = 0) -> Scale:
    """A scale for these values with about so many steps.  It begins at `low`, or with None near the least value.

    Raises UsageError if there are no values, or one of them is not finite or below `low`.
    """
    found = _checked(values)
    if low is not None and min(found) < low:
        raise UsageError(f"value {min(found)!r} is below {low!r}, where the axis begins; pass a smaller low")
    least = min(found) if low is None else low
    step = _nice_step((max(found) - least or abs(least) or 1.0) / ticks)
    first = floor(least / step + 1e-9)
    last = max(ceil(max(found) / step - 1e-9), first + 1)
    places = [
        float(f"{number * step:.12g}") for number in range(first, last + 1)
    ]  # 0.3, not 0.30000000000000004
    return Scale(places[0], places[-1], tuple(places))


def log_scale(values: Iterable[float]) -> Scale:
    """A scale of whole decades for these values.

    Raises UsageError if there are no values, or one of them is not finite, 0 or less.
    """
    found = _checked(values)
    if min(found) <= 0:
        raise UsageError(
            f"value {min(found)!r} has no place on a logarithmic axis; leave it out, or use a linear one"
        )
    first = floor(log10(min(found)) + 1e-9)
    last = max(ceil(log10(max(found)) - 1e-9), first + 1)
    ticks = tuple(10.0**power for power in range(first, last + 1))
    minor = tuple(tick * factor for tick in ticks[:-1] for factor in range(2, 10))
    return Scale(ticks[0], ticks[-1], ticks, minor, log=True)


def number_text(value: float) -> str:
    """A number as people write it: "12,000", "2.5", "0.01"; at most four significant digits below 1,000."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    text = f"{value:.4g}"
    return text if "e" not in text else f"{value:.12f}".rstrip("0").rstrip(".")


def _checked(values: Iterable[float]) -> list[float]:
    found = list(values)
    if not found:
        raise UsageError("an axis without values; pass at least one")
    for value in found:
        if not isfinite(value):
            raise UsageError(f"value {value!r} has no place on an axis; leave it out")
    return found


def _nice_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10 times a power of ten that is not less."""
    power = 10.0 ** floor(log10(least))
    return next(factor * power for factor in _STEPS if factor * power >= least * (1 - 1e-9))
