"""Where the time of a run goes, measured from outside: functions are wrapped, the code itself knows nothing.

Rule 1  A moment belongs to the innermost wrapped function that runs, except below a label that keeps all.
Rule 2  Before `watching` ends, everything is unwrapped.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

__all__ = ["Stopwatch"]

Label = str | Callable[..., str]
"""What the time of a function counts as; a callable is asked with the arguments of each call."""


@dataclass
class Stopwatch:
    """`spent` is wall time in seconds by label; time in no wrapped function counts as `rest`.

    What runs below one of the labels in `keeps` counts as that label, whatever it is.
    """

    rest: str
    keeps: frozenset[str] = frozenset()
    spent: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _open: list[str] = field(default_factory=list)
    _since: float = 0.0

    def _charge(self) -> None:
        now = time.perf_counter()
        self.spent[self._open[-1]] += now - self._since
        self._since = now

    def _wrapped(self, function: Callable[..., Any], label: Label) -> Callable[..., Any]:
        @wraps(function)
        def measured(*args: Any, **named: Any) -> Any:
            name = label if isinstance(label, str) else label(*args, **named)
            self._charge()
            self._open.append(self._open[-1] if self._open[-1] in self.keeps else name)
            try:
                return function(*args, **named)
            finally:
                self._charge()
                self._open.pop()

        return measured

    @contextmanager
    def watching(self, *watched: tuple[Any, str, Label]) -> Iterator[None]:
        """Measure while the block runs; `watched` are (class or module, name of a function in it, label)."""
        originals = [(owner, name, getattr(owner, name)) for owner, name, _ in watched]
        for (owner, name, function), (_, _, label) in zip(originals, watched, strict=True):
            setattr(owner, name, self._wrapped(function, label))
        self._open.append(self.rest)
        self._since = time.perf_counter()
        try:
            yield
        finally:
            self._charge()
            self._open.pop()
            for owner, name, function in originals:
                setattr(owner, name, function)

    @property
    def shares(self) -> dict[str, float]:
        """Percent of all time by label, the largest first."""
        total = sum(self.spent.values())
        largest_first = sorted(self.spent.items(), key=lambda item: -item[1])
        return {label: 100 * seconds / total for label, seconds in largest_first}
