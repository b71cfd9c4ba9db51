"""Exchanges: what becomes of a request that a decision releases.

A released request reaches its server, or is lost; the server answers, or keeps it waiting for somebody else
(a row lock, an element of a list).  Nothing waits for a timer: whether a statement waits for a lock, or a
command for an element, is asked of the server.  Replies that one event frees are handed on in client order.
"""

import time

from cacheproof.chaos.wire.link import Answer, Pending
from cacheproof.chaos.wire.upstream import HANG_LIMIT_S, RedisUpstream
from cacheproof.harness.situation import Situation
from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.errors import EnvironmentFault
from cacheproof.models.event import Exchanged

__all__ = ["Exchanges"]

_BETWEEN_LOCK_WAITS_S = 0.003
"""Real seconds: three times the server's `deadlock_timeout`."""


class Exchanges:
    """Releases the pending exchanges of a run."""

    def __init__(self, situation: Situation) -> None:
        self._here = situation

    def release(self, pending: Pending, fate: Fate) -> None:
        """Let a pending exchange meet its fate, and everything that follows from it happen."""
        here = self._here
        link = pending.link
        process = here.crew.get(link.process)
        if fate is Fate.REQUEST_LOST:
            self._record(pending, None, fate)
            here.break_off(link)
            if process:
                here.settle(process)
            return
        if process and process.operation:
            process.operation.touched = True
        try:
            link.transmit(pending)
            pending.delivered = True
            answer = self._await(pending) or self._outlast_deadlock(pending)
        except ConnectionError as error:
            self._broken(pending, fate, error)
            return
        if answer is None:
            here.fates[id(pending)] = fate
            if pending.blocks_s:
                here.due_ns[id(pending)] = here.now_ns + round(pending.blocks_s * 1e9)
            self._record(pending, None, fate, waits=True)
        else:
            self._answered(pending, answer, fate)
        self.resolve_waiting()

    def _broken(self, pending: Pending, fate: Fate, error: ConnectionError) -> None:
        """The server closed the connection instead of answering."""
        here = self._here
        here.doubtful = True
        here.world.expect_servers()
        self._record(pending, {"error": str(error)}, fate)
        here.break_off(pending.link)
        if process := here.crew.get(pending.link.process):
            here.settle(process)

    def _await(self, pending: Pending) -> Answer | None:
        """The answer to a transmitted exchange; None if the server keeps it waiting for somebody else."""
        if pending.link.server is ServerName.CACHE and pending.blocks_s is None:
            return pending.link.collect(pending, None)
        give_up = time.monotonic() + HANG_LIMIT_S
        while True:
            answer = pending.link.collect(pending, 0.0 if pending.blocks_s is not None else 0.001)
            if answer is not None or self._waits(pending):
                return answer or pending.link.collect(pending, 0.0)
            if time.monotonic() > give_up:
                raise EnvironmentFault(
                    f"the {pending.link.server} did not answer {' '.join(pending.request)!r} for {HANG_LIMIT_S:g} s"
                )

    def _outlast_deadlock(self, pending: Pending) -> Answer | None:
        """The error of a statement that has just begun to wait for a lock, if its wait completes a circle.

        The server looks for circles `deadlock_timeout` after a wait has begun.  Nobody else is let wait before
        that: so it is always the last to wait who is refused.
        """
        if pending.link.server is ServerName.CACHE:
            return None
        assert pending.link.upstream is not None
        pid = self._here.world.session_pid(pending.link.upstream)
        answer = pending.link.collect(pending, _BETWEEN_LOCK_WAITS_S)
        while answer is None and self._here.world.deadlocked(pid):
            answer = pending.link.collect(pending, 0.001)
        return answer or self._await(pending)

    def _waits(self, pending: Pending) -> bool:
        """Whether the server says that it keeps the exchange waiting."""
        here = self._here
        upstream = pending.link.upstream
        assert upstream is not None
        if isinstance(upstream, RedisUpstream):
            said = here.world.cache_clock.admin.call("CLIENT", "LIST", "ID", upstream.id).value
            flags = (
                bytes(said).partition(b" flags=")[2].partition(b" ")[0] if isinstance(said, bytes) else b""
            )
            return b"b" in flags
        return here.world.blocked_by_lock(here.world.session_pid(upstream))

    def _answered(self, pending: Pending, answer: Answer, fate: Fate, *, waited: bool = False) -> None:
        here = self._here
        link = pending.link
        self._record(pending, answer.reply, fate, waited=waited)
        if here.zombies:  # what they waited for may be theirs now: they commit before anybody goes on
            here.zombies = here.world.still_waiting(here.zombies)
        if pending.may_write:
            here.record_commits(link.process)
        if fate is Fate.REPLY_LOST:
            here.break_off(link)
        else:
            link.send(answer.raw)
            here.world.wire.finish(pending)
        if process := here.crew.get(link.process):
            here.settle(process)
        self.overhear()

    def resolve_waiting(self) -> None:
        """Hand on every reply that has become possible, in client order, until none is left."""
        while self._here.fates and any(self._resolve(pending) for pending in self._here.world.wire.waiting()):
            pass

    def _resolve(self, pending: Pending) -> bool:
        here = self._here
        try:
            answer = self._await(pending)
        except ConnectionError as error:
            self._broken(pending, here.fates.pop(id(pending), Fate.DELIVERED), error)
            return True
        if answer is None:
            return False
        here.due_ns.pop(id(pending), None)
        self._answered(pending, answer, here.fates.pop(id(pending)), waited=True)
        return True

    def _record(
        self, pending: Pending, reply: object, fate: Fate, *, waits: bool = False, waited: bool = False
    ) -> None:
        self._here.recorder(
            Exchanged,
            process=pending.link.process,
            server=pending.link.server,
            verb=pending.verb,
            request=pending.request,
            keys=pending.keys,
            reply=reply,
            fate=fate,
            waits=waits,
            waited=waited,
        )

    def overhear(self) -> None:
        """Hand on what servers have pushed without being asked."""
        here = self._here
        listening = here.world.wire.listening()
        if listening and here.world.wire.overhear():
            for number in sorted({link.process for link in listening}):
                if process := here.crew.get(number):
                    here.settle(process)
