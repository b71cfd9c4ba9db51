"""Virtual time passes: keys expire, blocking commands give up, sleepers wake, each at its time and in order."""

from collections.abc import Collection

from cacheproof.chaos.wire.link import Pending
from cacheproof.chaos.wire.upstream import RedisUpstream
from cacheproof.harness.exchanges import Exchanges
from cacheproof.harness.situation import Situation
from cacheproof.models.errors import CacheError

__all__ = ["PassingTime"]

_MOST_DEADLINES = 10_000
_IDLE_WAKES = 20


class PassingTime:
    """Moves the clock of a run."""

    def __init__(self, situation: Situation, exchanges: Exchanges) -> None:
        self._here = situation
        self._exchanges = exchanges

    def advance_to(self, at_ns: int) -> None:
        """Let virtual time pass up to `at_ns`, as part of the epilogue."""
        if at_ns > self._here.now_ns:
            self.advance(at_ns, (at_ns - self._here.now_ns) / 1e9)

    def advance(self, until_ns: int, seconds: float | None) -> None:
        """Move the clock; everything that comes due on the way happens at its time, in order.

        A client that wakes again and again only to sleep on (a driver that polls while it waits for a reply)
        is let sleep through after a while, and woken once at the end.

        What a client says meanwhile waits: while a fault keeps anything back, it is recorded that it does, and the
        rest of the time as an advance of its own.  So who waited for what, and when, can be told from the history.
        """
        here = self._here
        self._ask()
        self._exchanges.tell_waiting()
        advance = here.fault("advance", detail=seconds) if seconds is not None else None
        began_ns = here.now_ns
        idle: dict[int, int] = {}
        for _ in range(_MOST_DEADLINES):
            drowsy = {number for number, wakes in idle.items() if wakes > _IDLE_WAKES}
            due = [at for at in self._deadlines(without=drowsy) if at <= until_ns]
            if not due:
                break
            here.world.clock.set_ns(max(min(due), here.now_ns))
            self._happen(idle)
            if advance and here.now_ns < until_ns and self._exchanges.tell_waiting():
                here.recorder.amend(advance, detail=(here.now_ns - began_ns) / 1e9)
                advance = here.fault("advance", detail=(until_ns - here.now_ns) / 1e9)
                began_ns = here.now_ns
        else:
            raise CacheError(
                f"{_MOST_DEADLINES} timers ran out while {seconds} virtual seconds passed; "
                "a client sleeps in a loop without ever asking a server"
            )
        here.world.clock.set_ns(until_ns)
        if here.world.cache_is_up():
            here.world.cache_clock.realign()
        self._wake_sleepers(idle)

    def next_wake_ns(self) -> int | None:
        """The next virtual time at which a sleeper wakes or a blocking command gives up."""
        wakes = [self.wake_ns_of(process.number) for process in self._here.crew.alive()]
        return min((at for at in wakes if at is not None), default=None)

    def wake_ns_of(self, client: int) -> int | None:
        """The same for one client."""
        self._ask()
        here = self._here
        process = here.crew.get(client)
        found = [process.next_deadline_ns] if process and not process.paused else []
        found += [at for pending, at in self._giving_up() if pending.link.process == client]
        return min((at for at in found if at is not None), default=None)

    def _ask(self) -> None:
        """Have every client say until when it waits at a socket, where a fault may make that a time-out."""
        here = self._here
        if here.world.wire.is_held_up and here.world.clock.ask():
            for process in here.crew.alive():
                here.settle(process)

    def _deadlines(self, without: Collection[int]) -> list[int]:
        here = self._here
        awake = (item for item in here.crew.alive() if item.number not in without and not item.paused)
        found = [item.next_deadline_ns for item in awake]
        found += [here.world.cache_clock.next_deadline_ns() if here.world.cache_is_up() else None]
        found += [at for _, at in self._giving_up()]
        return [at for at in found if at is not None]

    def _giving_up(self) -> list[tuple[Pending, int]]:
        """The blocking commands that wait at a server, in client order, and when each gives up by itself."""
        here = self._here
        return [
            (pending, here.due_ns[pending])
            for pending in here.world.wire.waiting()
            if pending in here.due_ns and not here.world.wire.is_frozen(pending.link.server)
        ]

    def _happen(self, idle: dict[int, int]) -> None:
        """Do what is due now: first keys expire, then blocking commands time out, then sleepers wake."""
        here = self._here
        if here.world.cache_is_up():
            for key in here.world.cache_clock.expire_due():
                here.fault("expire", detail=key.decode(errors="backslashreplace"))
            here.keep_image()
            self._exchanges.overhear()
        self._give_up()
        self._wake_sleepers(idle)

    def _give_up(self) -> None:
        """End the waits of blocking commands whose time has come."""
        here = self._here
        for pending, at in self._giving_up():
            if at <= here.now_ns:
                upstream = pending.link.upstream
                assert isinstance(upstream, RedisUpstream)
                here.world.cache_clock.admin.call("CLIENT", "UNBLOCK", upstream.id, "TIMEOUT")
                here.due_ns.pop(pending)
        self._exchanges.resolve_waiting()

    def catch_up(self) -> None:
        """Do what should have been done already, but for somebody who was stopped: a client, or a server."""
        self._give_up()
        self._wake_sleepers({})

    def _wake_sleepers(self, idle: dict[int, int]) -> None:
        """Wake every client that is due, lowest first; count in `idle` who only slept on."""
        here = self._here
        for process in here.crew.alive():
            deadline = process.next_deadline_ns
            if deadline is not None and deadline <= here.now_ns and not process.paused:
                before = self._state_of(process.number)
                process.wake(here.now_ns)
                here.settle(process)
                same = before == self._state_of(process.number)
                idle[process.number] = idle.get(process.number, 0) + 1 if same else 0

    def _state_of(self, client: int) -> tuple[object, ...]:
        """What changes when a client does anything but sleep on."""
        here = self._here
        links = [(link.number, link.connected) for link in here.world.wire.links(client)]
        return (len(here.recorder.events), len(here.pending(client)), links)
