"""One run: takes decisions, one at a time, and records what happens.

Rule 1  At any time at most one client runs.  A decision is over when the client that it set in motion has
        settled; only then is the next one taken.
Rule 2  What one decision causes in several clients happens in client order: a reply that a COMMIT frees is
        handed on to the first client, which settles, then to the next.
Rule 3  Nothing waits for a timer.
Rule 4  The fixed epilogue (epilogue.py) is made of the same steps; it is recorded, and not part of the
        schedule.

    situation ◄── exchanges ◄── passing time ◄── operations ◄── faults ◄── table of actions ◄── execution
"""

from collections.abc import Callable, Iterator

from cacheproof.chaos.wire.link import Pending
from cacheproof.harness.actions import ACTIONS, mends
from cacheproof.harness.crew import Crew
from cacheproof.harness.parts import Parts
from cacheproof.harness.process import OpenOperation
from cacheproof.harness.recorder import Recorder
from cacheproof.harness.world import World
from cacheproof.models.decision import Decision, Invoke
from cacheproof.models.errors import ReplayMismatch
from cacheproof.models.event import Event
from cacheproof.models.schedule import Scenario, Schedule

__all__ = ["Execution"]


class Execution:
    """A run in progress, as strategies and the epilogue see it.  `taken` are the decisions so far."""

    def __init__(
        self, world: World, scenario: Scenario, observer: Callable[[Event], None] | None = None
    ) -> None:
        self.world = world
        self.scenario = scenario
        self.taken: list[Decision] = []
        self._parts = Parts(world, scenario, observer)
        self._here = self._parts.situation
        try:
            for worker in range(scenario.clients, scenario.processes):
                self._parts.operations.invoke(Invoke(worker, "work"))
        except BaseException:
            self.end()
            raise

    # -- what can be done, and doing it --------------------------------------------------------------------

    def is_enabled(self, decision: Decision) -> bool:
        """Whether the decision can be taken now."""
        return ACTIONS[type(decision)].is_enabled(self._parts, decision)

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
        ACTIONS[type(decision)].perform(self._parts, decision)

    def schedule(self) -> Schedule:
        return Schedule(self.scenario, tuple(self.taken))

    # -- what the run has come to --------------------------------------------------------------------------

    @property
    def recorder(self) -> Recorder:
        return self._here.recorder

    @property
    def crew(self) -> Crew:
        return self._here.crew

    @property
    def now_ns(self) -> int:
        return self._here.now_ns

    @property
    def wounded(self) -> set[int]:
        """The clients that have lost a connection: many a cache does not open it again."""
        return self._here.wounded

    def pending(self, client: int) -> list[Pending]:
        """The exchanges of a client that can be released, in canonical order."""
        return self._here.pending(client)

    def operation(self, client: int) -> OpenOperation | None:
        return self._here.operation(client)

    def is_held_back(self, client: int) -> bool:
        """True if the client is in an operation, and a fault keeps something back from it."""
        return self._here.is_held_back(client)

    def is_down(self, client: int) -> bool:
        """True if the client has crashed and has not been restarted."""
        return self._here.is_down(client)

    @property
    def states(self) -> int:
        """How many states the cache has gone through, where the scenario may lead back to one; else 0."""
        return len(self._here.images)

    def next_wake_ns(self) -> int | None:
        """The next virtual time at which a sleeper wakes or a blocking command gives up."""
        return self._parts.time.next_wake_ns()

    def wake_ns_of(self, client: int) -> int | None:
        """The same for one client."""
        return self._parts.time.wake_ns_of(client)

    def find_bypass(self) -> str | None:
        """That a client is connected to somebody around the wire, in words; None if none is now."""
        return self._here.find_bypass()

    # -- what only the epilogue does -----------------------------------------------------------------------

    def mends(self) -> Iterator[Decision]:
        """What has to be done so that nothing is broken any more; each is to be performed before the next."""
        return mends(self._parts)

    def begin_final_reads(self) -> None:
        """From now on, what is invoked are the reads of the epilogue."""
        self._parts.operations.final = True

    def advance_to(self, at_ns: int) -> None:
        """Let virtual time pass up to `at_ns`."""
        self._parts.time.advance_to(at_ns)

    def replace(self, client: int) -> None:
        """End a client that no longer works and start it anew, as whoever runs it would."""
        self._parts.operations.replace(client)

    def record_commits(self) -> None:
        """Record the row versions that have become visible without anybody's doing."""
        self._here.record_commits(None)

    def check(self) -> None:
        """Raises EnvironmentFault if a server has died in the course of the run."""
        self._here.check()

    def end(self) -> None:
        """End the run: nothing is recorded any more, and clients go, or wait for the next one."""
        self._here.end()
