"""A line that says how far a search has got, on a terminal; nothing where there is none."""

import time
from types import TracebackType
from typing import IO, Self

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

__all__ = ["ProgressLine"]

_EVERY_S = 0.1


class ProgressLine:
    """A context manager, and what `verify` calls with (what it does, schedules so far).

    No thread redraws it: threads and forks do not mix.
    """

    def __init__(self, terminal: IO[str] | None) -> None:
        self._bar: Progress | None = None
        self._shown = 0.0
        self._began = time.monotonic()
        if terminal is not None:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                TextColumn("{task.fields[pace]}"),
                TimeElapsedColumn(),
                console=Console(file=terminal, force_terminal=True),
                transient=True,
                auto_refresh=False,
            )
            self._task = self._bar.add_task("starting the servers", total=None, pace="")

    def __call__(self, what: str, runs: int) -> None:
        now = time.monotonic()
        if self._bar is None or now - self._shown < _EVERY_S:
            return
        self._shown = now
        pace = f"{runs:,} schedules, {runs / max(now - self._began, 0.001):.0f}/s"
        self._bar.update(self._task, description=what, pace=pace, refresh=True)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
