"""Time-outs of sockets: remembered, but they never fire.

A client may be parked for any length of real time while the director looks elsewhere, so a time-out in real
seconds would fire by chance.  A positive one is remembered, for `gettimeout` and for copies of the socket,
and the socket itself blocks.  Non-blocking sockets (0, `setblocking(False)`) are left as they are: asyncio
and TLS rely on them.
"""

import socket
import weakref
from collections.abc import Callable
from typing import Any

from cacheproof.chaos.virtualtime.membership import RUN

__all__ = ["install_sockets"]


class _Timeouts:
    """What was asked for: by default, and of each socket that blocks instead."""

    def __init__(self) -> None:
        self.default: float | None = None
        self.of: weakref.WeakKeyDictionary[socket.socket, float] = weakref.WeakKeyDictionary()


def install_sockets() -> None:
    """Replace what sets and tells the time-outs of sockets; to be called once a process."""
    timeouts = _Timeouts()
    _install_methods(timeouts)
    _install_default(timeouts)


def _install_methods(timeouts: _Timeouts) -> None:
    real_settimeout: Callable[..., None] = socket.socket.settimeout
    real_gettimeout: Callable[..., float | None] = socket.socket.gettimeout
    real_setblocking: Callable[..., None] = socket.socket.setblocking

    def settimeout(self: socket.socket, value: float | None, /) -> None:
        real_settimeout(self, value)  # refuses what is not a time-out
        timeouts.of.pop(self, None)
        if RUN.clock is not None and value is not None and value > 0:
            real_settimeout(self, None)
            timeouts.of[self] = float(value)

    def gettimeout(self: socket.socket) -> float | None:
        return timeouts.of.get(self, real_gettimeout(self))

    def setblocking(self: socket.socket, flag: bool, /) -> None:
        timeouts.of.pop(self, None)
        real_setblocking(self, flag)

    replaced: Any = socket.socket
    replaced.settimeout, replaced.gettimeout, replaced.setblocking = settimeout, gettimeout, setblocking
    replaced.timeout = property(gettimeout)


def _install_default(timeouts: _Timeouts) -> None:
    real_set, real_get = socket.setdefaulttimeout, socket.getdefaulttimeout
    real_init: Callable[..., None] = socket.socket.__init__

    def setdefaulttimeout(timeout: float | None, /) -> None:
        real_set(timeout)
        timeouts.default = None
        if RUN.clock is not None and timeout is not None and timeout > 0:
            real_set(None)
            timeouts.default = float(timeout)

    def getdefaulttimeout() -> float | None:
        return real_get() if timeouts.default is None else timeouts.default

    def __init__(self: socket.socket, *args: Any, **kwargs: Any) -> None:
        real_init(self, *args, **kwargs)
        if timeouts.default is not None and real_get() is None:
            self.settimeout(timeouts.default)

    replaced: Any = socket
    replaced.setdefaulttimeout, replaced.getdefaulttimeout = setdefaulttimeout, getdefaulttimeout
    replaced.socket.__init__ = __init__
