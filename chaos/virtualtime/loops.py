"""asyncio in virtual time: event loops whose selector sleeps on the run's clock.

A loop asks its selector to wait for descriptors until its next timer.  Ours looks without waiting first.
Only if nothing is ready does it announce the timer to the director, and then blocks for real, without a time
limit, on the descriptors and its sleep channel.  With no timer there is nothing to announce.

The selector is put into every selector event loop as it is made, so that policies, runners, loop factories
and subclasses need no change.
"""

import selectors
from asyncio.selector_events import BaseSelectorEventLoop
from collections.abc import Callable, Mapping
from typing import Any

from cacheproof.chaos.clock import SleepChannel
from cacheproof.chaos.virtualtime.clocks import to_ns
from cacheproof.chaos.virtualtime.membership import RUN

__all__ = ["VirtualSelector", "install_loops"]

_Ready = list[tuple[selectors.SelectorKey, int]]


class VirtualSelector(selectors.BaseSelector):
    """A selector that behaves like `inner`, except that time limits are virtual inside a run."""

    def __init__(self, inner: selectors.BaseSelector) -> None:
        self._inner = inner
        self._channel: SleepChannel | None = None

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._inner.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._inner.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._inner.modify(fileobj, events, data)

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._inner.get_key(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._inner.get_map()

    def close(self) -> None:
        self._inner.close()
        if self._channel is not None:
            self._channel.close()

    def select(self, timeout: float | None = None) -> _Ready:
        """What is ready; an empty list once `timeout` virtual seconds are over, or for no reason at all."""
        clock = RUN.clock
        if clock is None:
            return self._inner.select(timeout)
        ready, _ = self._poll(0)
        if ready or (timeout is not None and to_ns(timeout) <= 0):
            return ready
        if timeout is None:
            return self._poll(None)[0]
        return self._sleep_until(clock.now_ns + to_ns(timeout))

    def _sleep_until(self, deadline_ns: int) -> _Ready:
        channel = self._open_channel()
        channel.announce(deadline_ns)
        woken = False
        try:
            ready, woken = self._poll(None)
        finally:
            if not woken:
                channel.cancel()
        return ready

    def _poll(self, timeout: float | None) -> tuple[_Ready, bool]:
        """What is ready, and whether the director woke us."""
        found = self._inner.select(timeout)
        ready = [(key, events) for key, events in found if key.fileobj is not self._channel]
        if woken := len(ready) < len(found):
            self._open_channel().drain()
        return ready, woken

    def _open_channel(self) -> SleepChannel:
        if self._channel is None:
            self._channel = RUN.open_channel("event loop")
            self._inner.register(self._channel, selectors.EVENT_READ)
        return self._channel


def install_loops() -> None:
    """Give every selector event loop made from now on a VirtualSelector; to be called once a process."""
    real_init: Callable[..., None] = BaseSelectorEventLoop.__init__

    def __init__(self: BaseSelectorEventLoop, selector: selectors.BaseSelector | None = None) -> None:
        real_init(self, VirtualSelector(selector or selectors.DefaultSelector()))

    BaseSelectorEventLoop.__init__ = __init__  # type: ignore[method-assign]
