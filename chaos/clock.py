"""The clock of a run, and how a client that sleeps waits for it: both ends.

Rule 1. Time stands still unless the director moves it.  `RunClock` is a page of shared memory: the nanoseconds
        since the start of the run, and how far the wall clock of each client is ahead of that.  Every client
        reads it, only the director writes it.
Rule 2. Whoever sleeps says until when *before* blocking.  A director that sees every thread of a client
        blocked, and then reads what has arrived, knows every deadline of that client.
Rule 3. Whoever sleeps blocks for real, without a time limit.  The director wakes a sleeper with a packet
        after it has moved the clock to the deadline.  A packet that comes early wakes nobody for long.

Each sleeping party (a thread, an event loop) has a channel of its own, a SOCK_SEQPACKET pair made when it
first sleeps.  It passes the director's end over the registrar, a socket that carries nothing else:

    client                                        director
    SleepChannel(registrar, …)   ── fd, name ──►  receive_sleeper(registrar) -> Sleeper
    announce(deadline_ns, line)  ── 16 bytes ──►  Sleeper.receive(): deadline_ns, line
    cancel()                     ── 0, 0 ──────►  Sleeper.receive(): None
    wait                         ◄── 8 bytes ───  RunClock.set_ns(…), Sleeper.wake()

Rule 4. Whoever waits at a socket with a time-out says so only once the director asks (`RunClock.ask`).  Such waits
        are part of every exchange, and nearly always end with a reply.  Who answers says at which socket it waits
        (`line`): whether that time-out counts is the director's to decide.

All of it is Linux: memfd, eventfd and sequenced packets between local sockets.
"""

import contextlib
import mmap
import os
import select
import socket
import struct
from collections.abc import Callable
from typing import Self

from cacheproof.models.errors import HarnessError, UsageError

__all__ = ["ELSEWHERE", "EPOCH_NS", "MONOTONIC_NS", "RunClock", "SleepChannel", "Sleeper", "receive_sleeper"]

ELSEWHERE = -1
"""The `line` of whoever waits at a socket that is no TCP connection, and so not on the wire."""

EPOCH_NS = 1_577_836_800 * 10**9
"""Unix time, in nanoseconds, at which every run starts: 2020-01-01T00:00:00Z."""

MONOTONIC_NS = 100_000 * 10**9
"""What `time.monotonic_ns` says at the start of a run.

Not 0: `if now - last_seen > ttl` with `last_seen = 0` must find what it finds on a machine that has been up
for a while.  Not more, so that a float still resolves a hundredth of a nanosecond.
"""

_INT64 = struct.Struct("<q")
_ANNOUNCEMENT = struct.Struct("<qq")
_FD = struct.Struct("i")
_NOT_ASLEEP = _ANNOUNCEMENT.pack(0, 0)
_NAME_BYTES = 64
_CLOCK_BYTES = mmap.PAGESIZE
_MOST_CLIENTS = 255
_ASKED = 1 + _MOST_CLIENTS
_RECEIVE_FLAGS = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC


class RunClock:
    """Virtual nanoseconds since the start of a run, in memory that clients share with the director.

    `create` makes one that clients inherit over a fork; `attach` opens the same one from its file
    descriptor, in a fresh interpreter that was given it.  `question` is an eventfd, readable while the director asks
    who waits at a socket; without one (-1) it always does.
    """

    __slots__ = ("_fd", "_map", "_view", "question")

    def __init__(self, fd: int, question: int = -1) -> None:
        self._fd = fd
        self.question = question
        self._map = mmap.mmap(fd, _CLOCK_BYTES)
        self._view = memoryview(self._map).cast("q")

    @classmethod
    def create(cls) -> Self:
        """A clock that reads 0.  Its descriptors are inherited over fork, not over exec."""
        fd = os.memfd_create("cacheproof-clock")
        os.ftruncate(fd, _CLOCK_BYTES)
        return cls(fd, os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))

    @classmethod
    def attach(cls, fd: int, question: int = -1) -> Self:
        """The clock behind `fd`, which it owns from then on.  Raises UsageError if `fd` holds none."""
        try:
            return cls(fd, question)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"no clock behind file descriptor {fd!r} ({error}); pass on RunClock.fd"
            ) from None

    @property
    def fd(self) -> int:
        """The descriptor to hand to a fresh interpreter."""
        return self._fd

    def ask(self) -> bool:
        """Ask whoever waits at a socket to say so; False if that has been asked already.

        For the director alone, who lets every client answer then.  It is asked until `ask_no_more`.
        """
        if self._view[_ASKED]:
            return False
        self._view[_ASKED] = 1
        os.eventfd_write(self.question, 1)
        return True

    def ask_no_more(self) -> None:
        """Who waits at a socket need no longer say so."""
        if self._view[_ASKED]:
            self._view[_ASKED] = 0
            os.eventfd_read(self.question)

    @property
    def now_ns(self) -> int:
        """Virtual nanoseconds since the start of the run."""
        return self._view[0]

    def set_ns(self, now_ns: int) -> None:
        """Move the clock.  For the director alone, while no client runs; 0 starts a new run."""
        if now_ns < 0:
            raise HarnessError(f"a run has no time before its start: {now_ns!r} ns")
        self._view[0] = now_ns

    def skew_ns(self, client: int) -> int:
        """By how much the wall clock of a client is ahead of the run (negative: behind)."""
        return self._view[1 + client]

    def set_skew_ns(self, client: int, skew_ns: int) -> None:
        """Put the wall clock of a client forward, or back.  For the director alone, while no client runs."""
        if not 0 <= client < _MOST_CLIENTS:
            raise HarnessError(f"client {client!r} has no clock of its own; there are {_MOST_CLIENTS}")
        self._view[1 + client] = skew_ns

    def unskew(self) -> None:
        """All wall clocks agree again."""
        for client in range(_MOST_CLIENTS):
            self._view[1 + client] = 0

    def close(self) -> None:
        """Let go of the memory and the descriptor.  Other processes keep theirs."""
        self._view.release()
        self._map.close()
        os.close(self._fd)
        if self.question >= 0:
            os.close(self.question)


class SleepChannel:
    """A client's end: the means by which one thread or one event loop sleeps in virtual time.

    `name` (at most 64 bytes) is what the director shows of it.  Only its owner may sleep on it; `ring` may
    be called by any thread of the same process.
    """

    __slots__ = ("_bell", "_clock", "_fd", "_poll")

    def __init__(self, clock: RunClock, registrar: socket.socket, name: str) -> None:
        self._clock = clock
        self._fd = self._bell = -1
        ours, directors = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with directors:
            self._fd = ours.detach()
            socket.send_fds(registrar, [name.encode()[:_NAME_BYTES]], [directors.fileno()])
        self._bell = os.eventfd(0)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._poll.register(self._bell, select.POLLIN)

    def __del__(self) -> None:
        self.close()

    def fileno(self) -> int:
        """What an event loop watches; readable when the director woke it (see `drain`)."""
        return self._fd

    def announce(self, deadline_ns: int, line: int = 0) -> None:
        """Tell the director that the owner is about to block until `deadline_ns` (at least 1).

        `line` is 0 for one who sleeps, and otherwise the connection at which it waits (see `Sleeper`).
        """
        os.write(self._fd, _ANNOUNCEMENT.pack(max(1, deadline_ns), line))

    def cancel(self) -> None:
        """Tell the director that the owner sleeps no more: something else woke it."""
        os.write(self._fd, _NOT_ASLEEP)

    def sleep_until(self, deadline_ns: int) -> None:
        """Block until the clock has reached `deadline_ns`.  Raises SystemExit when the run is over."""
        while self._clock.now_ns < deadline_ns:
            self.announce(deadline_ns)
            try:
                self._receive()
            except BaseException:
                self._cancel_quietly()
                raise

    def wait_until(self, deadline_ns: int) -> bool:
        """Block until `ring` (True) or until the clock has reached `deadline_ns` (False).

        A ring from before the call counts: callers look for what they wait for, and call again.
        Raises SystemExit when the run is over.
        """
        while self._clock.now_ns < deadline_ns:
            self.announce(deadline_ns)
            try:
                ready = {fd for fd, _ in self._poll.poll()}
            except BaseException:
                self._cancel_quietly()
                raise
            if self._bell in ready:
                os.read(self._bell, 8)
                self.cancel()
                return True
            self._receive()
        return False

    def wait_readable(self, fd: int, deadline_ns: int, line: Callable[[], int]) -> bool:
        """Block until there is something to read from `fd` (True), or the director says that time is up (False).

        `line` is called if the director asks.  A deadline that has passed ends nothing by itself: whether it counts
        is for the director to say, whenever it happens to ask.  Raises SystemExit when the run is over.
        """
        poll, question = select.poll(), self._clock.question
        for watched in (fd, self._fd) if question < 0 else (fd, self._fd, question):
            poll.register(watched, select.POLLIN)
        told = False
        try:
            while True:
                if question < 0:
                    self.announce(deadline_ns, line())
                    told = True
                ready = {found for found, _ in poll.poll()}
                if self._fd in ready:
                    self._receive()
                    if self._clock.now_ns >= deadline_ns:
                        return False
                elif fd in ready:
                    return True
                else:
                    poll.unregister(question)
                    question = -1
        finally:
            if told:
                self._cancel_quietly()

    def ring(self) -> None:
        """End the owner's `wait_until` before its deadline."""
        os.eventfd_write(self._bell, 1)

    def drain(self) -> None:
        """Take what the director sent, for an owner that saw `fileno` readable.  One packet, never blocks."""
        self._receive()

    def close(self) -> None:
        """Close both descriptors; the director's end then reads as closed.  Idempotent."""
        for fd in (self._fd, self._bell):
            if fd >= 0:
                os.close(fd)
        self._fd = self._bell = -1

    def _receive(self) -> None:
        try:
            packet = os.read(self._fd, _INT64.size)
        except ConnectionResetError:
            packet = b""
        if not packet:
            # Nobody is left to move the clock.  SystemExit, because it ends a thread without a word and is
            # not caught by the retry loops of a cache.
            raise SystemExit("the director of this run is gone, so its time stands still for ever")

    def _cancel_quietly(self) -> None:
        with contextlib.suppress(OSError):
            self.cancel()


class Sleeper:
    """The director's end of one channel.  `deadline_ns` is None while its party is not asleep.

    `line` is 0 if the party sleeps until then.  If it waits at a socket whose time-out that is, it is the
    connection: the port at its far end · 65,536 + the port at its own; ELSEWHERE for any other socket.
    Owns the descriptor that it is made from.
    """

    __slots__ = ("_fd", "deadline_ns", "line", "name")

    def __init__(self, fd: int, name: str) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self.name = name
        self.deadline_ns: int | None = None
        self.line = 0

    def __del__(self) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"deadline_ns={self.deadline_ns}"
        return f"<Sleeper {self.name!r} {state}>"

    def fileno(self) -> int:
        """For a selector; -1 once closed."""
        return self._fd

    @property
    def closed(self) -> bool:
        """True once the party is gone (its thread, loop or process ended), or `close` was called."""
        return self._fd < 0

    def receive(self) -> None:
        """Read every packet that has arrived, without blocking; the last one says the deadline."""
        while not self.closed:
            try:
                packet = os.read(self._fd, _ANNOUNCEMENT.size)
            except BlockingIOError:
                return
            except ConnectionResetError:
                packet = b""
            if not packet:
                self.close()
                return
            deadline_ns, self.line = _ANNOUNCEMENT.unpack(packet)
            self.deadline_ns = deadline_ns or None

    def wake(self) -> None:
        """Wake the party; to be called when the clock has reached its deadline.

        A party that is gone meanwhile, or that does not read its packets, is none of the caller's worries.
        """
        self.deadline_ns = None
        if self.closed:
            return
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, BlockingIOError):
            os.write(self._fd, _INT64.pack(1))

    def close(self) -> None:
        """Close the director's end.  Whoever still sleeps on the channel ends with SystemExit.  Idempotent."""
        self.deadline_ns = None
        if not self.closed:
            os.close(self._fd)
            self._fd = -1


def receive_sleeper(registrar: socket.socket) -> Sleeper | None:
    """The next channel that a client has made, or None if none waits (or the client is gone).

    Never blocks, whatever the mode of `registrar`, an AF_UNIX SOCK_SEQPACKET socket.
    """
    try:
        # Not socket.recv_fds, which drops the flags that it is given.
        name, ancillary, _, _ = registrar.recvmsg(_NAME_BYTES, socket.CMSG_SPACE(_FD.size), _RECEIVE_FLAGS)
    except (BlockingIOError, ConnectionResetError):
        return None
    for _level, _kind, data in ancillary:
        (fd,) = _FD.unpack(data)
        return Sleeper(fd, name.decode(errors="replace"))
    return None
