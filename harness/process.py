"""A client process, as the director holds it: its lines, its sleepers, its open operation."""

import json
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cacheproof.chaos.clock import Sleeper, receive_sleeper
from cacheproof.chaos.settling import ProcessWatch, unread
from cacheproof.chaos.wire.reactor import Reactor, Readable
from cacheproof.harness.client import MAX_PACKET
from cacheproof.harness.zygote import Zygote
from cacheproof.models.operation import Value

__all__ = ["ClientProcess", "OpenOperation"]


@dataclass(slots=True)
class OpenOperation:
    """An operation that has been invoked and has not returned.  `touched` once an exchange was delivered."""

    f: str
    key: str | None
    value: Value
    index: int
    touched: bool = False


@dataclass(slots=True)
class _Inbox:
    packets: list[dict[str, Any]] = field(default_factory=list)
    ended: bool = False


class ClientProcess:
    """One forked client.  `ended` is True when its control line is closed: it has died by itself.

    `paused` while it is stopped; `last_words` say why it is gone, once that is known.  `is_held_back` tells
    whether a fault keeps something back on a connection (`Sleeper.line`): only then the time-out of a socket counts.
    """

    def __init__(
        self,
        number: int,
        environment: tuple[str, str, str],
        zygote: Zygote,
        reactor: Reactor,
        is_held_back: Callable[[int], bool],
    ) -> None:
        self.number = number
        self.operation: OpenOperation | None = None
        self.ready = False
        self.paused = False
        self.last_words: str | None = None
        self.sleepers: list[Sleeper] = []
        self._is_held_back = is_held_back
        self._reactor = reactor
        self._zygote = zygote
        self._inbox = _Inbox()
        self._control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._registrar, registrar = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = zygote.fork(environment, control, registrar)
        control.close()
        registrar.close()
        self._control.setblocking(False)
        self._registrar.setblocking(False)
        self._watch = ProcessWatch(self.pid)
        self._watched: set[int] = set()
        self._listen(self._control, self._receive)
        self._listen(self._registrar, self._register)

    # -- what it says --------------------------------------------------------------------------------------

    def _receive(self) -> None:
        try:
            packet = self._control.recv(MAX_PACKET)
        except BlockingIOError:
            return
        except ConnectionError:
            packet = b""
        if packet:
            self._inbox.packets.append(json.loads(packet))
        else:
            self._inbox.ended = True
            self._forget(self._control.fileno())

    def _register(self) -> None:
        sleeper = receive_sleeper(self._registrar)
        if sleeper is None:
            self._forget(self._registrar.fileno())
            return
        self.sleepers.append(sleeper)
        fd = sleeper.fileno()
        self._listen(sleeper, lambda: self._hear(sleeper, fd))

    def _hear(self, sleeper: Sleeper, fd: int) -> None:
        sleeper.receive()
        if sleeper.closed:
            self._forget(fd)
            self.sleepers.remove(sleeper)

    def _listen(self, source: Readable, callback: Callable[[], None]) -> None:
        self._watched.add(source.fileno())
        self._reactor.register(source, callback)

    def _forget(self, fd: int) -> None:
        if fd in self._watched:
            self._watched.remove(fd)
            self._reactor.unregister(fd)

    def take_packet(self) -> dict[str, Any] | None:
        """The next thing that the client has said, if any."""
        return self._inbox.packets.pop(0) if self._inbox.packets else None

    def is_tired(self) -> bool:
        """True if it has said that something of an earlier run is left in it."""
        return self.ended or any("tired" in packet for packet in self._inbox.packets)

    @property
    def ended(self) -> bool:
        return self._inbox.ended and not self._inbox.packets

    # -- what it is told -----------------------------------------------------------------------------------

    def begin(self, seed: int) -> None:
        """Begin a run: construct the cache, with chance from `seed`."""
        self.ready = False
        self._send({"seed": seed, "client": self.number})

    def order(self, f: str, args: list[Value]) -> None:
        self._send({"f": f, "args": args})

    def _send(self, order: dict[str, Any]) -> None:
        try:
            self._control.send(json.dumps(order).encode())
        except ConnectionError:
            self._inbox.ended = True

    @property
    def next_deadline_ns(self) -> int | None:
        """The earliest virtual time at which a sleeping part of it wants to wake, or gives up at its socket."""
        return min((at for at, _ in self._deadlines()), default=None)

    def wake(self, now_ns: int) -> None:
        """Wake the one sleeping part whose deadline came first, if it has come."""
        due = [(at, sleeper) for at, sleeper in self._deadlines() if at <= now_ns]
        if due:
            min(due, key=lambda item: item[0])[1].wake()

    def _deadlines(self) -> list[tuple[int, Sleeper]]:
        """The deadlines that count, each with whose it is."""
        return [
            (sleeper.deadline_ns, sleeper)
            for sleeper in self.sleepers
            if sleeper.deadline_ns is not None and (not sleeper.line or self._is_held_back(sleeper.line))
        ]

    def stop(self) -> None:
        """SIGSTOP; returns when no thread of it can run any more."""
        os.kill(self.pid, signal.SIGSTOP)
        while not self._watch.stopped():
            os.sched_yield()
        self.paused = True

    def go_on(self) -> None:
        """SIGCONT."""
        self.paused = False
        os.kill(self.pid, signal.SIGCONT)

    # -- how it is -----------------------------------------------------------------------------------------

    def asleep(self) -> object | None:
        """Not None if every thread sleeps in the kernel, and everything said to it on its own lines has been read.

        Answers differ if it has run in between (`ProcessWatch.asleep`).
        """
        answer = self._watch.asleep()
        if answer is None or unread(self._control.fileno()):
            return None
        return None if any(unread(sleeper.fileno()) for sleeper in self.sleepers) else answer

    def dump_stacks(self) -> None:
        """Have it write the stacks of its threads to the log."""
        os.kill(self.pid, signal.SIGUSR1)

    def end(self) -> int | None:
        """SIGKILL; returns when it is gone, with its exit code: its own, if it had ended by itself.

        None if it was ended before.
        """
        if not self.pid:
            return None
        pid, self.pid = self.pid, 0
        os.kill(pid, signal.SIGKILL)
        return self._zygote.reap(pid)

    def kill(self) -> None:
        """End it, and let go of everything; returns when the kernel has closed what it held."""
        self.end()
        for fd in list(self._watched):
            self._forget(fd)
        for sleeper in self.sleepers:
            sleeper.close()
        self.sleepers.clear()
        self._control.close()
        self._registrar.close()
        self._watch.close()
        self._inbox.ended = True
