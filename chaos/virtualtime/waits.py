"""Timed waits of threads: locks, queues, joining, and everything that threading builds on them.

`Condition.wait(timeout)`, and with it Event, Semaphore, Barrier, Timer, Queue and futures, ends in one
primitive, `lock.acquire(True, timeout)` on a lock of C; the rest is `SimpleQueue.get` and `Thread.join`.
Those are replaced in their types.  A thread that waits with a time limit stands at a *place* (the lock, the
queue, the thread that it waits for):

    1. it tries without blocking;
    2. it puts its sleep channel in line at the place, and tries again, since what it wants may have come
       in between;
    3. it blocks on its channel until the place is *served* (a lock was released, an item put, a thread
       ended) or the clock has reached its deadline; then it tries again.

Serving a place rings the first in line, who may find that a third party was faster, and blocks again.  Who
leaves without having got anything passes a ring that it may have swallowed on to the next.

Waits without a time limit stay in C, and `with lock:` costs one more function call, to see that nobody stands
in line.  The replacements refer to no global at that moment: locks are released when modules are gone already.
"""

import _queue
import _thread
import os
import threading
from collections.abc import Callable
from typing import Any

from cacheproof.chaos.clock import SleepChannel
from cacheproof.chaos.rebinding import replace_method
from cacheproof.chaos.virtualtime.clocks import to_ns
from cacheproof.chaos.virtualtime.membership import RUN

__all__ = ["install_waits"]

_Line = dict[object, tuple[int, SleepChannel]]
"""Everybody who stands in line, first come first: a key of its own for each wait, the id of the place (which
lives at least as long: whoever waits refers to it) and the channel to ring.

One dictionary, and no lock around it: entering, leaving and copying are each a single step of the interpreter,
and a lock would have to be taken in the middle of taking locks.
"""


def install_waits() -> None:
    """Replace the timed waits; to be called once a process."""
    line: _Line = {}
    os.register_at_fork(after_in_child=line.clear)
    _install_lock(type(_thread.allocate_lock()), line)
    _install_lock(type(threading.RLock()), line)
    _install_simple_queue(line)
    _install_join(line)


def _serve(line: _Line, place: object) -> None:
    """Ring whoever stands first in line at `place`."""
    wanted = id(place)
    for at, channel in tuple(line.values()):
        if at == wanted:
            channel.ring()
            return


def _stand_in_line(line: _Line, place: object, deadline_ns: int, attempt: Callable[[], bool]) -> bool:
    """Steps 2 and 3: True as soon as an attempt succeeds, False if none did by the deadline."""
    channel, key = RUN.channel(), object()
    line[key] = (id(place), channel)
    done = False
    try:
        while not (done := attempt()):
            if not channel.wait_until(deadline_ns):
                done = attempt()
                break
    finally:
        line.pop(key, None)
        if not done:
            _serve(line, place)
    return done


def _install_lock(cls: type, line: _Line) -> None:
    """Locks and re-entrant locks have the same methods, with few exceptions."""
    methods, serve = vars(cls), _serve
    real_acquire, real_release = methods["acquire"], methods["release"]

    def acquire(self: Any, blocking: bool = True, timeout: float = -1) -> bool:
        clock = RUN.clock
        if clock is None or not blocking or not timeout > 0:
            return bool(real_acquire(self, blocking, timeout))
        if real_acquire(self, False):
            return True
        deadline_ns = clock.now_ns + to_ns(timeout)
        return _stand_in_line(line, self, deadline_ns, lambda: real_acquire(self, False))

    def release(self: Any) -> None:
        real_release(self)
        if line:
            serve(line, self)

    def leave(self: Any, *exception: object) -> None:
        real_release(self)
        if line:
            serve(line, self)

    for name, replacement in (("acquire", acquire), ("release", release), ("__exit__", leave)):
        replace_method(cls, name, replacement)
    for name, replacement in (("acquire_lock", acquire), ("release_lock", release)):
        if name in methods:
            replace_method(cls, name, replacement)
    if "_release_save" in methods:
        _install_release_save(cls, line)


def _install_release_save(cls: type, line: _Line) -> None:
    """Let a condition that gives up its re-entrant lock, however often it is held, serve that lock."""
    real_release_save, serve = vars(cls)["_release_save"], _serve

    def _release_save(self: Any) -> Any:
        state = real_release_save(self)
        if line:
            serve(line, self)
        return state

    replace_method(cls, "_release_save", _release_save)


def _install_simple_queue(line: _Line) -> None:
    cls, serve = _queue.SimpleQueue, _serve
    real_get, real_put = vars(cls)["get"], vars(cls)["put"]

    def get(self: Any, block: bool = True, timeout: float | None = None) -> Any:
        clock = RUN.clock
        if clock is None or not block or timeout is None or not timeout > 0:
            return real_get(self, block, timeout)
        items: list[Any] = []

        def attempt() -> bool:
            try:
                items.append(real_get(self, False))
            except _queue.Empty:
                return False
            return True

        if attempt() or _stand_in_line(line, self, clock.now_ns + to_ns(timeout), attempt):
            return items.pop()
        raise _queue.Empty

    def put(self: Any, item: Any, block: bool = True, timeout: float | None = None) -> None:
        real_put(self, item)
        if line:
            serve(line, self)

    def put_nowait(self: Any, item: Any) -> None:
        real_put(self, item)
        if line:
            serve(line, self)

    for name, replacement in (("get", get), ("put", put), ("put_nowait", put_nowait)):
        replace_method(cls, name, replacement)


def _install_join(line: _Line) -> None:
    """`Thread.join`: a thread serves itself, as a place, when it strikes itself off the list of threads.

    The C code that follows, until the thread is gone, is waited for without a time limit.
    """
    real_join: Callable[..., None] = threading.Thread.join
    real_delete: Callable[[threading.Thread], None] = threading.Thread._delete  # type: ignore[attr-defined]
    active: dict[int, threading.Thread] = threading._active  # type: ignore[attr-defined]

    def join(self: threading.Thread, timeout: float | None = None) -> None:
        clock = RUN.clock
        if clock is None or timeout is None or not timeout > 0:
            return real_join(self, timeout)
        real_join(self, 0)  # makes every check that join makes

        def attempt() -> bool:
            return active.get(self.ident or 0) is not self

        if attempt() or _stand_in_line(line, self, clock.now_ns + to_ns(timeout), attempt):
            real_join(self)
        return None

    def _delete(self: threading.Thread) -> None:
        real_delete(self)
        for at, channel in tuple(line.values()):
            if at == id(self):
                channel.ring()

    threading.Thread.join = join  # type: ignore[method-assign]
    threading.Thread._delete = _delete  # type: ignore[attr-defined]
