"""A bar that says how many of some tasks are done and what is done now; without a terminal, a line a task."""

import time
from types import TracebackType
from typing import IO, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

__all__ = ["ProgressBar"]

_EVERY_S = 0.1


class ProgressBar:
    """A context manager around `total` tasks; writes to `stream`, as a moving bar if `moving`.

    No thread redraws it: threads and forks do not mix.
    """

    def __init__(self, stream: IO[str], total: int, *, moving: bool) -> None:
        self._stream = stream
        self._total = total
        self._done = 0
        self._shown = 0.0
        self._bar: Progress | None = None
        if moving:
            self._bar = Progress(
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.description}"),
                console=Console(file=stream, force_terminal=True),
                transient=True,
                auto_refresh=False,
            )
            self._task = self._bar.add_task("starting the servers", total=total)

    def tell(self, what: str) -> None:
        """What is being done, in words; shown at most ten times a second, and by a bar only."""
        now = time.monotonic()
        if self._bar is not None and now - self._shown >= _EVERY_S:
            self._shown = now
            self._bar.update(self._task, description=what, refresh=True)

    def done(self, what: str) -> None:
        """One more task is done."""
        self._done += 1
        if self._bar is None:
            width = len(str(self._total))
            self._stream.write(f"[{self._done:>{width}}/{self._total}] {what}\n")
            self._stream.flush()
        else:
            self._bar.update(self._task, advance=1, description=what, refresh=True)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
