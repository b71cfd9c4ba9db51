"""Time-outs of sockets: virtual, and only a fault makes them fire.

A client may be parked for any length of real time while the director looks elsewhere, so a time-out in real
seconds would fire by chance.  A positive one is remembered, for `gettimeout` and for copies of the socket,
and the socket itself blocks.  Non-blocking sockets (0, `setblocking(False)`) are left as they are: asyncio
and TLS rely on them.

Rule 1. Whoever waits for data at a socket with a time-out blocks until the data come or time is up.  It says so to
        the director, with its deadline and its connection, as soon as that one asks.
Rule 2. The director counts the deadline only while a fault keeps something back on that connection.  A request
        that has merely not been delivered yet, and a command that waits for an event, time nobody out.

So without a fault nothing ever fires.  Sending and connecting never time out: the wire takes whatever comes, and
what a fault keeps back is the reply.  Nor do TLS sockets, which wait in C.
"""

import socket
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from cacheproof.chaos.clock import ELSEWHERE
from cacheproof.chaos.virtualtime.clocks import to_ns
from cacheproof.chaos.virtualtime.membership import RUN

__all__ = ["install_sockets"]


_RECEIVES: Mapping[str, int | None] = {
    "recv": 1,
    "recv_into": None,
    "recvfrom": 1,
    "recvfrom_into": None,
    "recvmsg": 2,
    "recvmsg_into": 2,
}
"""The methods that wait for data, and where among their arguments the flags stand; None: they have a name."""


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
    for name, flags_at in _RECEIVES.items():
        _install_receive(timeouts, name, flags_at)


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


def _install_receive(timeouts: _Timeouts, name: str, flags_at: int | None) -> None:
    real: Callable[..., Any] = getattr(socket.socket, name)

    def receive(self: socket.socket, *args: Any, **named: Any) -> Any:
        timeout_s, clock = timeouts.of.get(self), RUN.clock
        if timeout_s is None or clock is None:
            return real(self, *args, **named)
        deadline_ns = clock.now_ns + to_ns(timeout_s)
        args, named = _at_once(args, named, flags_at)
        in_time = True
        while in_time:
            in_time = RUN.channel().wait_readable(self.fileno(), deadline_ns, lambda: _line(self))
            try:
                return real(self, *args, **named)
            except BlockingIOError:  # time is up, or another thread was faster
                continue
        raise TimeoutError("timed out")

    receive.__name__ = receive.__qualname__ = name
    setattr(socket.socket, name, receive)


def _at_once(
    args: tuple[Any, ...], named: dict[str, Any], flags_at: int | None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a receiving method, with a flag that keeps it from blocking."""
    if flags_at is None:
        if len(args) > 2:
            return (*args[:2], args[2] | socket.MSG_DONTWAIT), named
        return args, {**named, "flags": named.get("flags", 0) | socket.MSG_DONTWAIT}
    padded = (*args, *(0,) * (flags_at + 1 - len(args)))
    return (*padded[:flags_at], padded[flags_at] | socket.MSG_DONTWAIT, *padded[flags_at + 1 :]), named


def _line(connection: socket.socket) -> int:
    """The connection of a socket, as the director knows it; see `Sleeper`."""
    try:
        theirs, ours = connection.getpeername(), connection.getsockname()
    except OSError:
        return ELSEWHERE
    return theirs[1] << 16 | ours[1] if isinstance(theirs, tuple) else ELSEWHERE
