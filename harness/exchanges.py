"""Exchanges: what becomes of a request that a decision releases.

A released request reaches its server, or is lost; the server answers, or keeps it waiting for somebody else
(a row lock, an element of a list).  Nothing waits for a timer: whether a statement waits for a lock, or a
command for an element, is asked of the server.  Replies that one event frees are handed on in client order.
"""

import time

from cacheproof.chaos.wire.link import Answer, Link, Pending
from cacheproof.chaos.wire.upstream import HANG_LIMIT_S, RedisUpstream
from cacheproof.harness.situation import Situation
from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.errors import CacheError, EnvironmentFault
from cacheproof.models.event import Exchanged
from cacheproof.models.refusal import Refusal

__all__ = ["Exchanges"]

_BETWEEN_LOCK_WAITS_S = 0.003
"""Real seconds: three times the server's `deadlock_timeout`."""

_DEADLOCK = (
    "transactions have come into a deadlock, and which of them ends it is left to real time: the database's user may "
    "not set deadlock_timeout; set it to 1ms for the server, or let the user be a superuser"
)


def _belongs(pending: Pending, process: int, server: ServerName) -> bool:
    return pending.link.process == process and pending.link.server is server


class Exchanges:
    """Releases the pending exchanges of a run."""

    def __init__(self, situation: Situation) -> None:
        self._here = situation
        self._withheld: list[tuple[Pending, Answer, Fate]] = []

    def release(self, pending: Pending, fate: Fate, refusal: Refusal | None = None) -> None:
        """Let a pending exchange meet its fate, and everything that follows from it happen."""
        here = self._here
        link = pending.link
        process = here.crew.get(link.process)
        if fate is Fate.REQUEST_LOST:
            self._record(pending, None, fate)
            here.break_off(link)
            if process:
                here.settle(process)
            here.end_dropped()
            self.resolve_waiting()  # whoever waited for a lock of the session that has ended
            return
        if process and process.operation and refusal is None:
            process.operation.touched = True
        if fate is Fate.DELAYED:
            self._delay(pending)
        elif refusal is not None:
            self._answered(pending, link.refuse(pending, refusal), fate, waited=pending.told)
            self.resolve_waiting()
        elif here.world.wire.is_frozen(link.server):
            pending.delivered = pending.parked = True
            here.queued.append((pending, fate))
            if not pending.told:
                self._record(pending, None, fate, waits=True)
        else:
            self._transmit(pending, fate, waited=pending.told)

    def _transmit(self, pending: Pending, fate: Fate, *, waited: bool = False) -> None:
        here = self._here
        try:
            pending.link.transmit(pending)
            pending.delivered = True
            answer = self._await(pending) or self._outlast_deadlock(pending)
        except ConnectionError as error:
            self._broken(pending, fate, error)
            return
        if answer is None:
            here.fates[pending] = fate
            if pending.blocks_s:
                here.due_ns[pending] = here.now_ns + round(pending.blocks_s * 1e9)
            if not waited:
                self._record(pending, None, fate, waits=True)
        else:
            self._answered(pending, answer, fate, waited=waited)
        self.resolve_waiting()

    def _delay(self, pending: Pending) -> None:
        """The client sees a reset; the request is on its way all the same."""
        here = self._here
        self._record(pending, None, Fate.DELAYED, waits=True)
        here.wounded.add(pending.link.process)
        here.world.wire.detach(pending.link)
        here.delayed.append(pending)
        if process := here.crew.get(pending.link.process):
            here.settle(process)

    def arrive(self, pending: Pending, fate: Fate = Fate.DELAYED) -> None:
        """A request whose client has left reaches its server, and takes effect; nobody hears the reply."""
        here = self._here
        link = pending.link
        pending.parked = False
        try:
            link.transmit(pending)
            pending.delivered = True
            answer = self._await(pending) or self._outlast_deadlock(pending)
        except ConnectionError as error:
            here.world.expect_servers()
            self._record(pending, {"error": str(error)}, fate, waited=True)
            here.world.wire.let_go(link)
            return
        if answer is not None:
            self._record(pending, answer.reply, fate, waited=True)
            here.world.wire.pass_by(pending)
            if pending.may_write:
                here.record_commits(link.process)
            if link.server is ServerName.CACHE:
                here.keep_image()
        self._follow(link, fate, answered=answer is not None)
        self.resolve_waiting()
        self.overhear()

    def _follow(self, link: Link, fate: Fate, *, answered: bool) -> None:
        """What the client had sent behind a request that has arrived: it arrives as well, each in its time."""
        follows = link.head if answered else None
        if follows is None:
            self._here.world.wire.let_go(link)
            self._here.end_dropped()
        elif fate is Fate.DELAYED:
            self._here.delayed.append(follows)
        else:
            self.arrive(follows, fate)

    def tell_waiting(self) -> bool:
        """Record that what clients have sent waits, where a fault keeps anything back; False if there is no news.

        To be called before time passes.  What the fault does not keep back is told of alone: a client waits for
        a fault to end only if it waits for nothing else.
        """
        wire, news = self._here.world.wire, False
        for process in self._here.crew.alive() if wire.is_held_up else ():
            links = wire.links(process.number) if wire.is_mute(process.number) else ()
            heads = [head for link in links if (head := link.head) and not head.delivered]
            for head in [head for head in heads if not head.link.held_back] or heads:
                if not head.told:
                    head.told = news = True
                    if process.operation is not None:
                        process.operation.touched = True
                    self._record(head, None, Fate.DELIVERED, waits=True)
        return news

    def work_off(self, server: ServerName) -> None:
        """A server that was frozen works on what has come meanwhile, in that order."""
        here = self._here
        mine = [item for item in here.queued if item[0].link.server is server]
        here.queued = [item for item in here.queued if item[0].link.server is not server]
        for pending, fate in mine:
            if pending.link.connected:
                pending.parked = False
                self._transmit(pending, fate, waited=True)
            else:
                if pending.link not in here.world.wire.detached:
                    here.world.wire.detach(pending.link)
                self.arrive(pending, fate)
        for link in [link for link in here.world.wire.detached if link.server is server]:
            if not any(item.link is link for item in here.delayed):
                here.world.wire.let_go(link)  # it hears only now that its client is gone
        here.end_dropped()
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
            if not self._here.world.servers.features.deadlocks:
                raise CacheError(_DEADLOCK)
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
        withheld = link.hushed and fate is not Fate.REPLY_LOST
        if not withheld:
            self._record(pending, answer.reply, fate, waited=waited)
        elif not waited:
            self._record(pending, None, fate, waits=True)
        if here.zombies:  # what they waited for may be theirs now: they commit before anybody goes on
            here.zombies = here.world.still_waiting(here.zombies)
        if pending.may_write:
            here.record_commits(link.process)
        if link.server is ServerName.CACHE:
            here.keep_image()
        if fate is Fate.REPLY_LOST:
            here.break_off(link)
        elif withheld:
            pending.parked = True
            self._withheld.append((pending, answer, fate))
        else:
            link.send(answer.raw)
            here.world.wire.finish(pending)
        if process := here.crew.get(link.process):
            here.settle(process)
        self.overhear()

    def hand_on_withheld(self, process: int, server: ServerName) -> None:
        """The replies that a partition has held back arrive."""
        here = self._here
        for item in [item for item in self._withheld if _belongs(item[0], process, server)]:
            self._withheld.remove(item)
            pending, answer, fate = item
            if pending not in pending.link.queue:
                continue  # the connection has been broken meanwhile
            pending.parked = False
            self._record(pending, answer.reply, fate, waited=True)
            pending.link.send(answer.raw)
            here.world.wire.finish(pending)
        here.end_dropped()

    def resolve_waiting(self) -> None:
        """Hand on every reply that has become possible, in client order, until none is left.

        A server that is frozen does nothing of its own accord either.
        """
        while self._here.fates and any(self._resolve(pending) for pending in self._here.world.wire.waiting()):
            pass

    def _resolve(self, pending: Pending) -> bool:
        here = self._here
        if here.world.wire.is_frozen(pending.link.server):
            return False
        try:
            answer = self._await(pending)
        except ConnectionError as error:
            self._broken(pending, here.fates.pop(pending, Fate.DELIVERED), error)
            return True
        if answer is None:
            return False
        here.due_ns.pop(pending, None)
        self._answered(pending, answer, here.fates.pop(pending), waited=True)
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
