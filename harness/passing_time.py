"""Virtual time passes: keys expire, blocking commands give up, sleepers wake, each at its time and in order."""

from collections.abc import Collection

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
        """
        here = self._here
        if seconds is not None:
            self._here.fault("advance", detail=seconds)
        idle: dict[int, int] = {}
        for _ in range(_MOST_DEADLINES):
            drowsy = {number for number, wakes in idle.items() if wakes > _IDLE_WAKES}
            due = [at for at in self._deadlines(without=drowsy) if at <= until_ns]
            if not due:
                break
            here.world.clock.set_ns(max(min(due), here.now_ns))
            self._happen(idle)
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
        here = self._here
        process = here.crew.get(client)
        found = [process.next_deadline_ns] if process else []
        found += [
            here.due_ns.get(id(pending))
            for pending in here.world.wire.waiting()
            if pending.link.process == client
        ]
        return min((at for at in found if at is not None), default=None)

    def _deadlines(self, without: Collection[int]) -> list[int]:
        here = self._here
        found = [item.next_deadline_ns for item in here.crew.alive() if item.number not in without]
        found += [here.world.cache_clock.next_deadline_ns() if here.world.cache_is_up() else None]
        found += list(here.due_ns.values())
        return [at for at in found if at is not None]

    def _happen(self, idle: dict[int, int]) -> None:
        """Do what is due now: first keys expire, then blocking commands time out, then sleepers wake."""
        here = self._here
        if here.world.cache_is_up():
            for key in here.world.cache_clock.expire_due():
                self._here.fault("expire", detail=key.decode(errors="backslashreplace"))
            self._exchanges.overhear()
        for pending in here.world.wire.waiting():
            if here.due_ns.get(id(pending), here.now_ns + 1) <= here.now_ns:
                upstream = pending.link.upstream
                assert isinstance(upstream, RedisUpstream)
                here.world.cache_clock.admin.call("CLIENT", "UNBLOCK", upstream.id, "TIMEOUT")
                here.due_ns.pop(id(pending))
        self._exchanges.resolve_waiting()
        self._wake_sleepers(idle)

    def _wake_sleepers(self, idle: dict[int, int]) -> None:
        """Wake every client that is due, lowest first; count in `idle` who only slept on."""
        here = self._here
        for process in here.crew.alive():
            deadline = process.next_deadline_ns
            if deadline is not None and deadline <= here.now_ns:
                before = (len(here.recorder.events), len(here.pending(process.number)))
                process.wake(here.now_ns)
                here.settle(process)
                same = before == (len(here.recorder.events), len(here.pending(process.number)))
                idle[process.number] = idle.get(process.number, 0) + 1 if same else 0
