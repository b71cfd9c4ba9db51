"""What a run has come to: which clients live, what each has open, who waits for what, and what was recorded.

Everything that happens in a run happens to this one value; exchanges.py, passing_time.py and operations.py say
what can happen.  A client is *settled* when it can do nothing more by itself; only then is it looked at.
"""

from collections.abc import Callable

from cacheproof.chaos.cacheimage import CacheImage, put_back, take_image
from cacheproof.chaos.wire.link import Link, Pending
from cacheproof.chaos.wire.upstream import RedisUpstream
from cacheproof.harness.crew import Crew
from cacheproof.harness.outcome import canonical, death_words, outcome_of
from cacheproof.harness.process import ClientProcess, OpenOperation
from cacheproof.harness.recorder import Recorder
from cacheproof.harness.world import World
from cacheproof.models.decision import Fate, InFlight, ServerName
from cacheproof.models.errors import CacheError
from cacheproof.models.event import Committed, Event, Faulted, Returned
from cacheproof.models.operation import Outcome, Value
from cacheproof.models.schedule import Keeps, Scenario
from cacheproof.models.workload import as_number

__all__ = ["Situation"]

_MOST_CONNECTIONS = 60
"""Of all clients of a run, at a time: more would be more than servers may be asked for."""


class Situation:
    """The state of a run in progress.

    `recorder` holds the events.  `wounded` are the clients that have lost a connection: many a cache does not
    open it again.  `fates` and `due_ns` tell, for an exchange that a server keeps waiting, what is to become of
    it, and when it gives up by itself.  `zombies` are database sessions that go on without their
    client.  `doubtful` is set when a server has broken off where it should not.  `delayed` are requests that will
    arrive later although their clients have lost the connection, `queued` those that a frozen server has taken,
    both in order.  `images` are the states that the cache has gone through, where the scenario may lead back to one;
    `killed_ns` is when it was killed last.
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
        self.wounded: set[int] = set()
        self.fates: dict[Pending, Fate] = {}
        self.due_ns: dict[Pending, int] = {}
        self.zombies: list[int] = []
        self.doubtful = False
        self.delayed: list[Pending] = []
        self.queued: list[tuple[Pending, Fate]] = []
        self.images: list[CacheImage] = []
        self.killed_ns = 0
        self._versions: dict[str, int] = {}
        self._orphaned: set[int] = set()
        self.keep_image()

    @property
    def now_ns(self) -> int:
        return self.world.clock.now_ns

    def pending(self, client: int) -> list[Pending]:
        """The exchanges of a client that can be released, in canonical order."""
        return self.world.wire.pending(client)

    def operation(self, client: int) -> OpenOperation | None:
        process = self.crew.get(client)
        return process.operation if process else None

    def is_held_back(self, client: int) -> bool:
        """True if the client is in an operation, and a fault keeps something back from it."""
        links = self.world.wire.links(client)
        return self.operation(client) is not None and any(link.connected and link.held_back for link in links)

    def is_down(self, client: int) -> bool:
        """True if the client has crashed and has not been restarted."""
        return client in self.crew.down

    def can_run(self, client: int) -> bool:
        """False for a client that is paused, or that would have to be started while a server does not answer."""
        process = self.crew.get(client)
        return not process.paused if process else not self.world.wire.is_mute(client)

    # -- settling ------------------------------------------------------------------------------------------

    def settle(self, process: ClientProcess) -> None:
        """Wait until the client can do nothing more by itself; then record what it said.

        One that is paused does nothing at all, and has not noticed anything.
        """
        if process.paused:
            return
        self.crew.settle(process)
        if self.world.wire.broken:
            raise CacheError(self.world.wire.broken[0])
        if len(self.world.wire.links(process.number)) > _MOST_CONNECTIONS // 2:
            self._count_connections()
        self._note_given_up(process)
        self._hear_returns(process)
        if self.world.wire.dropped or self.world.wire.abandoned or self.zombies:
            self.end_dropped()

    def _count_connections(self) -> None:
        """Raise CacheError if there are more than any cache needs."""
        held = self.crew.connections()
        if sum(held.values()) > _MOST_CONNECTIONS:
            most = max(held, key=lambda name: held[name])
            raise CacheError(
                f"the cache leaks connections: {sum(held.values())} are open in one run, {held[most]} of them of "
                f"{most}; close each when it is done, or open one for each server and keep it"
            )

    def _note_given_up(self, process: ClientProcess) -> None:
        """A request that its client has given up may take effect all the same, now or once nothing is broken."""
        for link in self.world.wire.links(process.number):
            if link.connected or link.head is None:
                continue
            if process.operation is not None:
                process.operation.touched = True
            if link.mute:
                self.wounded.add(process.number)

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
                numbers = self.scenario.numbers
                outcome, value, error = outcome_of(packet, process.operation, numbers=numbers)
                self.returned(process, outcome, value, error and self.world.wire.without_ports(error))
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

    def find_bypass(self) -> str | None:
        """That a client is connected to somebody around the wire, in words; None if none is now."""
        for process in self.crew.alive():
            if addresses := self.crew.connected_around(process):
                return self._note_bypass(process, addresses)
        return None

    # -- how operations and clients end --------------------------------------------------------------------

    def returned(self, process: ClientProcess, outcome: Outcome, value: Value, error: str | None) -> None:
        """Record that the open operation of a client has ended."""
        self.recorder(Returned, process=process.number, outcome=outcome, value=value, error=error)
        process.operation = None

    def _lost(self, process: ClientProcess, why: str) -> None:
        """The client is gone; what it had begun may or may not happen."""
        process.last_words = why
        if process.operation is not None:
            self.returned(process, Outcome.INFO, process.operation.value, why)
        self.bury(process, InFlight.CANCELLED)

    def bury(self, process: ClientProcess, in_flight: InFlight) -> None:
        """End a client's process and connections; returns when the servers have let go of them."""
        self.crew.bury(process)
        for link in self.world.wire.links(process.number):
            head = link.head
            reached = link.upstream is not None or (head is not None and head.delivered)
            if self.world.wire.is_frozen(link.server) and reached:
                self._leave_behind(link)
                continue
            if head is not None and head.delivered and not head.parked:
                self._end_waiting(head, in_flight)
            self.world.wire.reset(link)
        self.end_dropped()

    def _leave_behind(self, link: Link) -> None:
        """A server that is frozen does not notice that a client is gone, and will work on what it has."""
        head = link.head
        if head is None or not head.delivered:
            link.queue.clear()
        else:
            self.fates.pop(head, None)
            self.due_ns.pop(head, None)
        self.world.wire.detach(link)

    def _end_waiting(self, pending: Pending, in_flight: InFlight) -> None:
        """End the wait of an exchange at its server, unless it is to go on without its client."""
        self.fates.pop(pending, None)
        self.due_ns.pop(pending, None)
        upstream = pending.link.upstream
        if isinstance(upstream, RedisUpstream):
            self.world.cache_clock.admin.call("CLIENT", "KILL", "ID", upstream.id)
        elif upstream is not None and in_flight is InFlight.CANCELLED and self.world.database_is_up():
            pid = self.world.session_pid(upstream)
            self.world.terminate(pid)
            self.world.wait_gone([pid])

    def end_dropped(self) -> None:
        """Wait until the database has rolled back what was dropped, and what goes on alone waits or is done."""
        wire = self.world.wire
        if not self.world.database_is_up():  # all sessions have ended with it
            wire.dropped.clear()
            wire.abandoned.clear()
            self.zombies.clear()
            return
        if wire.dropped:
            self.world.wait_gone(wire.dropped)
            wire.dropped.clear()
        if wire.abandoned:
            self.zombies += wire.abandoned
            self._orphaned.update(wire.abandoned)
            wire.abandoned.clear()
        self._settle_zombies()

    def _settle_zombies(self) -> None:
        """Statements of crashed clients go on until they wait for a lock or are done."""
        if self.zombies:
            self.zombies = self.world.still_waiting(self.zombies)
            self.record_commits(None)

    def break_off(self, link: Link) -> None:
        """Break a connection of a client, which sees a reset."""
        self.wounded.add(link.process)
        self.queued = [item for item in self.queued if item[0].link is not link]
        if link.head is not None:
            self.fates.pop(link.head, None)
            self.due_ns.pop(link.head, None)
        self.world.wire.reset(link)

    def break_all(self, client: int, server: ServerName) -> None:
        """Break every connection of a client to a server."""
        links = [link for link in self.world.wire.links(client) if link.server is server]
        for link in links:
            self.break_off(link)
        if links and (process := self.crew.get(client)):
            self.settle(process)

    def go_on(self, client: int, server: ServerName) -> None:
        """What was kept from the connections of a client to a server goes on."""
        links = [link for link in self.world.wire.links(client) if link.server is server]
        for link in links:
            self.world.wire.go_on(link)
            if not link.connected and link.head is not None and not link.head.delivered:
                self.delayed.append(link.head)  # its client has given it up, and it is under way all the same
                self.world.wire.detach(link)
        if links and (process := self.crew.get(client)):
            self.settle(process)

    def forget_server(self, server: ServerName) -> None:
        """A server has died: nothing that was on its way to it, or waited there, is there any more."""
        for pending in self.world.wire.waiting():
            if pending.link.server is server:
                self.fates.pop(pending, None)
                self.due_ns.pop(pending, None)
        self.delayed = [item for item in self.delayed if item.link.server is not server]
        self.queued = [item for item in self.queued if item[0].link.server is not server]
        for link in [link for link in self.world.wire.detached if link.server is server]:
            self.world.wire.let_go(link)

    # -- what the cache held -------------------------------------------------------------------------------

    def keep_image(self) -> None:
        """Keep what the cache holds now, if it may have to go back to it."""
        if self.scenario.keeps is Keeps.NOTHING or not self.world.cache_is_up():
            return
        image = take_image(self.world.cache_clock, self.now_ns)
        if not self.images or not image.same_as(self.images[-1]):
            self.images.append(image)

    def go_back(self, behind: int) -> None:
        """Give the cache, which is empty, what it held `behind` writes ago."""
        del self.images[len(self.images) - behind :]
        put_back(self.images[-1], self.world.cache_clock)

    # -- what is recorded ----------------------------------------------------------------------------------

    def fault(
        self,
        fault: str,
        *,
        process: int | None = None,
        server: ServerName | None = None,
        detail: str | float | None = None,
    ) -> Faulted:
        """Record a fault, and whom it met in the middle of an operation."""
        overlapped = tuple(item.number for item in self.crew.alive() if item.operation)
        return self.recorder(
            Faulted, fault=fault, process=process, server=server, detail=detail, overlapped=overlapped
        )

    def record_commits(self, process: int | None) -> None:
        """Record the row versions that have become visible; `process` is who made them so.

        Those of a statement that went on without its client are nobody's.
        """
        if not self.world.database_is_up():
            return
        for row in self.world.records.new_versions():
            version = self._versions.get(row.key, 0) + 1
            self._versions[row.key] = version
            who = None if row.session in self._orphaned else process
            value = as_number(row.value) if self.scenario.numbers else row.value
            self.recorder(Committed, key=row.key, value=value, version=version, process=who)

    def check(self) -> None:
        """Raises EnvironmentFault if a server has died in the course of the run."""
        if self.doubtful:
            self.world.expect_servers()

    def end(self) -> None:
        """End the run: nothing is recorded any more, and clients go, or wait for the next one."""
        self.crew.dismiss()
