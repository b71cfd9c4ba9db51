"""One run: executes decisions, one at a time, and records what happens.

Rule 1  At any time at most one client runs.  A decision is over when the client that it set in motion has
        settled; only then is the next one taken.
Rule 2  What one decision causes in several clients happens in client order: a reply that a COMMIT frees is
        handed on to the first client, which settles, then to the next.
Rule 3  Nothing waits for a timer: whether a statement waits for a lock, or a command for an element, is asked
        of the server.
Rule 4  The fixed epilogue (epilogue.py) is made of the same steps; it is recorded, and not part of the
        schedule.
"""

import time
from collections.abc import Callable, Collection

from cacheproof.chaos.wire.link import Answer, Link, Pending
from cacheproof.chaos.wire.upstream import HANG_LIMIT_S, RedisUpstream
from cacheproof.harness.crew import Crew
from cacheproof.harness.outcome import canonical, death_words, outcome_of
from cacheproof.harness.process import ClientProcess, OpenOperation
from cacheproof.harness.recorder import Recorder
from cacheproof.harness.world import World
from cacheproof.models.decision import (
    Advance,
    Crash,
    Decision,
    Deliver,
    Expire,
    Fate,
    InFlight,
    Invoke,
    Kill,
    Restart,
    ServerName,
    Start,
)
from cacheproof.models.errors import CacheError, EnvironmentFault, ReplayMismatch
from cacheproof.models.event import Committed, Event, Exchanged, Faulted, Invoked, Returned
from cacheproof.models.operation import Outcome, Value
from cacheproof.models.schedule import Scenario, Schedule

__all__ = ["Execution"]

WRITES = ("write", "increment")
"""Operations that are given a value to write."""

_MOST_CONNECTIONS = 60
"""Of all clients of a run, at a time: more would be more than servers may be asked for."""

_MOST_DEADLINES = 10_000
_IDLE_WAKES = 20

_BETWEEN_LOCK_WAITS_S = 0.003
"""Real seconds: three times the server's `deadlock_timeout`."""


class Execution:
    """A run in progress.

    `taken` are the decisions so far; `recorder` holds the events.  `final` is set while the epilogue reads.
    `wounded` are the clients that have lost a connection: many a cache does not open it again.
    """

    def __init__(
        self, world: World, scenario: Scenario, observer: Callable[[Event], None] | None = None
    ) -> None:
        world.reset(scenario)
        self.world = world
        self.scenario = scenario
        self.recorder = Recorder(scenario, world.clock)
        self.recorder.observer = observer
        self.crew = Crew(world, scenario)
        self.taken: list[Decision] = []
        self.final = False
        self.wounded: set[int] = set()
        self._values = len(scenario.keys)
        self._versions: dict[str, int] = {}
        self._doubtful = False
        self._fates: dict[int, Fate] = {}
        self._due_ns: dict[int, int] = {}
        self._zombies: list[int] = []
        self._orphaned: set[int] = set()
        try:
            for worker in range(scenario.clients, scenario.processes):
                self._invoke(Invoke(worker, "work"))
        except BaseException:
            self.end()
            raise

    # -- what can be done ----------------------------------------------------------------------------------

    @property
    def now_ns(self) -> int:
        return self.world.clock.now_ns

    def pending(self, client: int) -> list[Pending]:
        """The exchanges of a client that can be released, in canonical order."""
        return self.world.wire.pending(client)

    def operation(self, client: int) -> OpenOperation | None:
        process = self.crew.get(client)
        return process.operation if process else None

    def is_down(self, client: int) -> bool:
        """True if the client has crashed and has not been restarted."""
        return client in self.crew.down

    def is_enabled(self, decision: Decision) -> bool:
        """Whether the decision can be taken now."""
        match decision:
            case Invoke(client, f, key):
                known = key in self.scenario.keys if key is not None else f == "work"
                free = client < self.scenario.processes and not self.is_down(client)
                return free and known and self.operation(client) is None
            case Deliver(client, pick):
                return pick < len(self.pending(client))
            case Crash(client):
                return self.crew.get(client) is not None
            case Restart(client):
                return self.is_down(client)
            case Kill(server):
                return server is ServerName.CACHE and self.world.cache_is_up()
            case Start(server):
                return server is ServerName.CACHE and not self.world.cache_is_up()
            case Expire(key):
                return self.world.cache_is_up() and key.encode() in self.world.cache_clock.expirable
            case Advance(seconds):
                return seconds > 0

    def take(self, decision: Decision) -> None:
        """Execute one decision.  Raises ReplayMismatch if it is not enabled."""
        if not self.is_enabled(decision):
            raise ReplayMismatch(
                f"decision {len(self.taken) + 1}, {decision!r}, is not possible at this point"
            )
        self.taken.append(decision)
        self.perform(decision)

    def perform(self, decision: Decision) -> None:
        """Execute one step, of the schedule or of the epilogue."""
        match decision:
            case Invoke():
                self._invoke(decision)
            case Deliver():
                self._deliver(decision)
            case Crash():
                self._crash(decision)
            case Restart(client):
                self._restart(client)
            case Kill():
                self._kill_cache()
            case Start():
                self._start_cache()
            case Expire(key):
                self.world.cache_clock.expire(key.encode())
                self._fault("expire", detail=key)
                self._overhear()
            case Advance(seconds):
                self._advance(self.now_ns + round(seconds * 1e9), seconds)

    def schedule(self) -> Schedule:
        return Schedule(self.scenario, tuple(self.taken))

    # -- operations ----------------------------------------------------------------------------------------

    def _invoke(self, decision: Invoke) -> None:
        process = self.crew.get(decision.client) or self._start(decision.client)
        value: Value = None
        if decision.f in WRITES:
            self._values += 1
            value = f"v{self._values}" if decision.f == "write" else 1
        call = self.recorder(
            Invoked,
            process=decision.client,
            f=decision.f,
            key=decision.key,
            value=value,
            final=self.final,
        )
        process.operation = OpenOperation(decision.f, decision.key, value, call.index)
        if process.ended:
            self._return(process, Outcome.FAIL, value, process.last_words)
            return
        args: list[Value] = [item for item in (decision.key, value) if item is not None]
        process.order(decision.f, args)
        self._settle(process)

    def _start(self, client: int) -> ClientProcess:
        """Start a client; what it says to the servers while it starts is delivered at once."""
        process = self.crew.start(client)
        self._settle(process)
        while not process.ready and not process.ended:
            if pending := self.pending(client):
                self._release(pending[0], Fate.DELIVERED)
            elif process.next_deadline_ns is not None:
                self._advance(process.next_deadline_ns, None)
            else:
                raise CacheError(
                    f"the constructor of the cache does not return on {self.crew.name(client)}; "
                    f"it waits for something that is not on the wire\n{self.crew.stacks(process)}"
                )
        return process

    def _hear_returns(self, process: ClientProcess) -> None:
        """Record what the client has said: that it is ready, or how its operation ended."""
        while packet := process.take_packet():
            if "around" in packet:
                raise CacheError(self._note_bypass(process, packet["around"]))
            if "ready" in packet:
                process.ready = True
            elif "unusable" in packet:
                self._unusable(process, packet)
            elif "wrong" in packet:
                raise CacheError(packet["wrong"])
            elif "gone" in packet:
                process.last_words = f"the process ended itself: {packet['gone']}"
            elif process.operation is not None:
                outcome, value, error = outcome_of(packet, process.operation)
                self._return(process, outcome, value, error and self.world.wire.without_ports(error))
        if process.ended and process.number not in self.crew.down:
            died = death_words(process.end())
            self._lost(process, process.last_words or died)

    def _unusable(self, process: ClientProcess, packet: dict[str, str]) -> None:
        """A cache may refuse to start after a fault, as anybody's would; before any, it cannot be tested."""
        why = f"the cache cannot be constructed: {self.world.wire.without_ports(packet['unusable'])}"
        if not any(isinstance(event, Faulted) for event in self.recorder.events):
            raise CacheError(
                f"{why}, on {self.crew.name(process.number)} ({packet['where']}); it is called with one "
                "argument, which has redis_url, database_url, client and clock"
            )
        self._lost(process, canonical(why))

    def _note_bypass(self, process: ClientProcess, addresses: list[str]) -> str:
        self.world.bypassed = (
            f"{self.crew.name(process.number)} connects to {', '.join(addresses)}, around the wire: what is said "
            "there is neither controlled nor seen; connect to env.redis_url and env.database_url alone, and put "
            "something inside the process in the place of any other service"
        )
        return self.world.bypassed

    def _return(self, process: ClientProcess, outcome: Outcome, value: Value, error: str | None) -> None:
        self.recorder(Returned, process=process.number, outcome=outcome, value=value, error=error)
        process.operation = None

    def _lost(self, process: ClientProcess, why: str) -> None:
        """The client is gone; what it had begun may or may not happen."""
        process.last_words = why
        if process.operation is not None:
            self._return(process, Outcome.INFO, process.operation.value, why)
        self._bury(process, InFlight.CANCELLED)

    # -- exchanges -----------------------------------------------------------------------------------------

    def _deliver(self, decision: Deliver) -> None:
        self._release(self.pending(decision.client)[decision.pick], decision.fate)

    def _release(self, pending: Pending, fate: Fate) -> None:
        link = pending.link
        process = self.crew.get(link.process)
        if fate is Fate.REQUEST_LOST:
            self._record(pending, None, fate)
            self._break(link)
            if process:
                self._settle(process)
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
            self._fates[id(pending)] = fate
            if pending.blocks_s:
                self._due_ns[id(pending)] = self.now_ns + round(pending.blocks_s * 1e9)
            self._record(pending, None, fate, waits=True)
        else:
            self._answered(pending, answer, fate)
        self._resolve_waiting()

    def _broken(self, pending: Pending, fate: Fate, error: ConnectionError) -> None:
        """The server closed the connection instead of answering."""
        self._doubtful = True
        self.world.expect_servers()
        self._record(pending, {"error": str(error)}, fate)
        self._break(pending.link)
        if process := self.crew.get(pending.link.process):
            self._settle(process)

    def _break(self, link: Link) -> None:
        self.wounded.add(link.process)
        self.world.wire.reset(link)

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
        pid = self.world.session_pid(pending.link.upstream)
        answer = pending.link.collect(pending, _BETWEEN_LOCK_WAITS_S)
        while answer is None and self.world.deadlocked(pid):
            answer = pending.link.collect(pending, 0.001)
        return answer or self._await(pending)

    def _waits(self, pending: Pending) -> bool:
        """Whether the server says that it keeps the exchange waiting."""
        upstream = pending.link.upstream
        assert upstream is not None
        if isinstance(upstream, RedisUpstream):
            said = self.world.cache_clock.admin.call("CLIENT", "LIST", "ID", upstream.id).value
            flags = (
                bytes(said).partition(b" flags=")[2].partition(b" ")[0] if isinstance(said, bytes) else b""
            )
            return b"b" in flags
        return self.world.blocked_by_lock(self.world.session_pid(upstream))

    def _answered(self, pending: Pending, answer: Answer, fate: Fate, *, waited: bool = False) -> None:
        link = pending.link
        self._record(pending, answer.reply, fate, waited=waited)
        if self._zombies:  # what they waited for may be theirs now: they commit before anybody goes on
            self._zombies = self.world.still_waiting(self._zombies)
        if pending.may_write:
            self.record_commits(link.process)
        if fate is Fate.REPLY_LOST:
            self._break(link)
        else:
            link.send(answer.raw)
            self.world.wire.finish(pending)
        if process := self.crew.get(link.process):
            self._settle(process)
        self._overhear()

    def _resolve_waiting(self) -> None:
        """Hand on every reply that has become possible, in client order, until none is left."""
        while self._fates and any(self._resolve(pending) for pending in self.world.wire.waiting()):
            pass

    def _resolve(self, pending: Pending) -> bool:
        try:
            answer = self._await(pending)
        except ConnectionError as error:
            self._broken(pending, self._fates.pop(id(pending), Fate.DELIVERED), error)
            return True
        if answer is None:
            return False
        self._due_ns.pop(id(pending), None)
        self._answered(pending, answer, self._fates.pop(id(pending)), waited=True)
        return True

    def _record(
        self, pending: Pending, reply: object, fate: Fate, *, waits: bool = False, waited: bool = False
    ) -> None:
        self.recorder(
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

    def record_commits(self, process: int | None) -> None:
        """Record the row versions that have become visible; `process` is who made them so.

        Those of a statement that went on without its client are nobody's.
        """
        for row in self.world.records.new_versions():
            version = self._versions.get(row.key, 0) + 1
            self._versions[row.key] = version
            who = None if row.session in self._orphaned else process
            self.recorder(Committed, key=row.key, value=row.value, version=version, process=who)

    def _overhear(self) -> None:
        listening = self.world.wire.listening()
        if listening and self.world.wire.overhear():
            for number in sorted({link.process for link in listening}):
                if process := self.crew.get(number):
                    self._settle(process)

    # -- faults --------------------------------------------------------------------------------------------

    def _fault(
        self,
        fault: str,
        *,
        process: int | None = None,
        server: ServerName | None = None,
        detail: str | float | None = None,
    ) -> None:
        overlapped = tuple(item.number for item in self.crew.alive() if item.operation)
        self.recorder(
            Faulted, fault=fault, process=process, server=server, detail=detail, overlapped=overlapped
        )

    def _crash(self, decision: Crash) -> None:
        process = self.crew.get(decision.client)
        assert process is not None
        self._fault("crash", process=decision.client)
        if process.operation is not None:
            self._return(process, Outcome.INFO, process.operation.value, "the client crashed")
        self._bury(process, decision.in_flight)
        self._resolve_waiting()

    def _bury(self, process: ClientProcess, in_flight: InFlight) -> None:
        """End a client's process and connections; returns when the servers have let go of them."""
        self.crew.bury(process)
        for link in self.world.wire.links(process.number):
            head = link.head
            if head is not None and head.delivered:
                self._end_waiting(head, in_flight)
            self.world.wire.reset(link)
        self._let_go()

    def _end_waiting(self, pending: Pending, in_flight: InFlight) -> None:
        """End the wait of an exchange at its server, unless it is to go on without its client."""
        self._fates.pop(id(pending), None)
        self._due_ns.pop(id(pending), None)
        upstream = pending.link.upstream
        if isinstance(upstream, RedisUpstream):
            self.world.cache_clock.admin.call("CLIENT", "KILL", "ID", upstream.id)
        elif upstream is not None and in_flight is InFlight.CANCELLED:
            pid = self.world.session_pid(upstream)
            self.world.terminate(pid)
            self.world.wait_gone([pid])

    def _let_go(self) -> None:
        """Wait until the database has rolled back what was dropped, and what goes on alone waits or is done."""
        wire = self.world.wire
        if wire.dropped:
            self.world.wait_gone(wire.dropped)
            wire.dropped.clear()
        if wire.abandoned:
            self._zombies += wire.abandoned
            self._orphaned.update(wire.abandoned)
            wire.abandoned.clear()
        self._settle_zombies()

    def _settle_zombies(self) -> None:
        """Statements of crashed clients go on until they wait for a lock or are done."""
        if self._zombies:
            self._zombies = self.world.still_waiting(self._zombies)
            self.record_commits(None)

    def replace(self, client: int) -> None:
        """End a client that no longer works and start it anew, as whoever runs it would."""
        process = self.crew.get(client)
        if process is not None and process.operation is None and process.ready:
            for link in self.world.wire.links(client):
                self.world.wire.reset(link)
            self._settle(process)
        if process is not None and process.operation is None and not process.ended:
            self.crew.retire(process)
        elif process is not None:
            self._bury(process, InFlight.CANCELLED)
        self._restart(client)

    def _restart(self, client: int) -> None:
        self._fault("restart", process=client)
        self.crew.down.discard(client)
        self.wounded.discard(client)
        self._start(client)
        if self.scenario.is_worker(client) and self.crew.get(client) is not None:
            self._invoke(Invoke(client, "work"))

    def _kill_cache(self) -> None:
        self.world.kill_cache()
        self._fault("kill", server=ServerName.CACHE)
        self._fates = {name: fate for name, fate in self._fates.items() if name not in self._due_ns}
        self._due_ns.clear()
        for process in self.crew.alive():
            links = [
                link for link in self.world.wire.links(process.number) if link.server is ServerName.CACHE
            ]
            for link in links:
                self.world.wire.reset(link)
            if links:
                self._settle(process)

    def _start_cache(self) -> None:
        self.world.start_cache()
        self._fault("start", server=ServerName.CACHE)

    # -- time ----------------------------------------------------------------------------------------------

    def advance_to(self, at_ns: int) -> None:
        """Let virtual time pass up to `at_ns`, as part of the epilogue."""
        if at_ns > self.now_ns:
            self._advance(at_ns, (at_ns - self.now_ns) / 1e9)

    def _advance(self, until_ns: int, seconds: float | None) -> None:
        """Move the clock; everything that comes due on the way happens at its time, in order.

        A client that wakes again and again only to sleep on (a driver that polls while it waits for a reply)
        is let sleep through after a while, and woken once at the end.
        """
        if seconds is not None:
            self._fault("advance", detail=seconds)
        idle: dict[int, int] = {}
        for _ in range(_MOST_DEADLINES):
            drowsy = {number for number, wakes in idle.items() if wakes > _IDLE_WAKES}
            due = [at for at in self._deadlines(without=drowsy) if at <= until_ns]
            if not due:
                break
            self.world.clock.set_ns(max(min(due), self.now_ns))
            self._happen(idle)
        else:
            raise CacheError(
                f"{_MOST_DEADLINES} timers ran out while {seconds} virtual seconds passed; "
                "a client sleeps in a loop without ever asking a server"
            )
        self.world.clock.set_ns(until_ns)
        if self.world.cache_is_up():
            self.world.cache_clock.realign()
        self._wake_sleepers(idle)

    def next_wake_ns(self) -> int | None:
        """The next virtual time at which a sleeper wakes or a blocking command gives up."""
        wakes = [self.wake_ns_of(process.number) for process in self.crew.alive()]
        return min((at for at in wakes if at is not None), default=None)

    def wake_ns_of(self, client: int) -> int | None:
        """The same for one client."""
        process = self.crew.get(client)
        found = [process.next_deadline_ns] if process else []
        found += [
            self._due_ns.get(id(pending))
            for pending in self.world.wire.waiting()
            if pending.link.process == client
        ]
        return min((at for at in found if at is not None), default=None)

    def _deadlines(self, without: Collection[int]) -> list[int]:
        found = [item.next_deadline_ns for item in self.crew.alive() if item.number not in without]
        found += [self.world.cache_clock.next_deadline_ns() if self.world.cache_is_up() else None]
        found += list(self._due_ns.values())
        return [at for at in found if at is not None]

    def _happen(self, idle: dict[int, int]) -> None:
        """Do what is due now: first keys expire, then blocking commands time out, then sleepers wake."""
        if self.world.cache_is_up():
            for key in self.world.cache_clock.expire_due():
                self._fault("expire", detail=key.decode(errors="backslashreplace"))
            self._overhear()
        for pending in self.world.wire.waiting():
            if self._due_ns.get(id(pending), self.now_ns + 1) <= self.now_ns:
                upstream = pending.link.upstream
                assert isinstance(upstream, RedisUpstream)
                self.world.cache_clock.admin.call("CLIENT", "UNBLOCK", upstream.id, "TIMEOUT")
                self._due_ns.pop(id(pending))
        self._resolve_waiting()
        self._wake_sleepers(idle)

    def _wake_sleepers(self, idle: dict[int, int]) -> None:
        """Wake every client that is due, lowest first; count in `idle` who only slept on."""
        for process in self.crew.alive():
            deadline = process.next_deadline_ns
            if deadline is not None and deadline <= self.now_ns:
                before = (len(self.recorder.events), len(self.pending(process.number)))
                process.wake(self.now_ns)
                self._settle(process)
                same = before == (len(self.recorder.events), len(self.pending(process.number)))
                idle[process.number] = idle.get(process.number, 0) + 1 if same else 0

    # -- settling ------------------------------------------------------------------------------------------

    def _settle(self, process: ClientProcess) -> None:
        """Wait until the client can do nothing more by itself; then record what it said."""
        self.crew.settle(process)
        if self.world.wire.broken:
            raise CacheError(self.world.wire.broken[0])
        if len(self.world.wire.links(process.number)) > _MOST_CONNECTIONS // 2:
            self._count_connections()
        self._hear_returns(process)
        if self.world.wire.dropped or self.world.wire.abandoned or self._zombies:
            self._let_go()

    def _count_connections(self) -> None:
        """Raise CacheError if there are more than any cache needs."""
        held = self.crew.connections()
        if sum(held.values()) > _MOST_CONNECTIONS:
            most = max(held, key=lambda name: held[name])
            raise CacheError(
                f"the cache leaks connections: {sum(held.values())} are open in one run, {held[most]} of them of "
                f"{most}; close each when it is done, or open one for each server and keep it"
            )

    def check(self) -> None:
        """Raises EnvironmentFault if a server has died in the course of the run."""
        if self._doubtful:
            self.world.expect_servers()

    def find_bypass(self) -> str | None:
        """That a client is connected to somebody around the wire, in words; None if none is now."""
        for process in self.crew.alive():
            if addresses := self.crew.connected_around(process):
                return self._note_bypass(process, addresses)
        return None

    def end(self) -> None:
        """End the run: nothing is recorded any more, and clients go, or wait for the next one."""
        self.crew.dismiss()
