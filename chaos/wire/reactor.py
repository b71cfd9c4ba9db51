"""The one place that waits for sockets: a selector whose events are callbacks.

Everything that a run listens to is registered here, so that one `poll` sees all of it, and nothing is ever
handled by another thread.
"""

import contextlib
import select
from collections.abc import Callable
from typing import Protocol

__all__ = ["Reactor", "Readable"]


class Readable(Protocol):
    def fileno(self) -> int: ...


class Reactor:
    """Callbacks by file descriptor; not thread-safe, and meant not to be."""

    def __init__(self) -> None:
        # Not `selectors`, which costs three times as much, several times in every exchange.
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}

    def register(self, source: Readable, callback: Callable[[], None]) -> None:
        fd = source.fileno()
        self._epoll.register(fd, select.EPOLLIN)
        self._callbacks[fd] = callback

    def unregister(self, fd: int) -> None:
        """Forget a file descriptor; it may have been closed meanwhile."""
        del self._callbacks[fd]
        with contextlib.suppress(OSError):  # the kernel has forgotten it when it was closed
            self._epoll.unregister(fd)

    def poll(self, timeout_s: float = 0.0) -> bool:
        """Run the callbacks of all that is readable; wait for it at most `timeout_s`.  True if any ran."""
        ready = [(fd, self._callbacks.get(fd)) for fd, _ in self._epoll.poll(timeout_s)]
        for fd, callback in sorted(ready, key=lambda item: item[0]) if len(ready) > 1 else ready:
            if callback is not None and self._callbacks.get(fd) is callback:  # else an earlier one closed it
                callback()
        return bool(ready)

    def close(self) -> None:
        self._epoll.close()
