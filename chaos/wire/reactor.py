"""The one place that waits for sockets: a selector whose events are callbacks.

Everything that a run listens to is registered here, so that one `poll` sees all of it, and nothing is ever
handled by another thread.
"""

import selectors
from collections.abc import Callable
from typing import Protocol

__all__ = ["Reactor", "Readable"]


class Readable(Protocol):
    def fileno(self) -> int: ...


class Reactor:
    """Callbacks by file descriptor; not thread-safe, and meant not to be."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def register(self, source: Readable, callback: Callable[[], None]) -> None:
        self._selector.register(source.fileno(), selectors.EVENT_READ, callback)

    def unregister(self, fd: int) -> None:
        """Forget a file descriptor; it may have been closed meanwhile."""
        self._selector.unregister(fd)

    def poll(self, timeout_s: float = 0.0) -> bool:
        """Run the callbacks of all that is readable; wait for it at most `timeout_s`.  True if any ran."""
        ready = self._selector.select(timeout_s)
        for key, _ in sorted(ready, key=lambda item: item[0].fd) if len(ready) > 1 else ready:
            callback: Callable[[], None] = key.data
            if self._selector.get_map().get(key.fd) is key:  # an earlier callback may have closed it
                callback()
        return bool(ready)

    def close(self) -> None:
        self._selector.close()
