"""Runs: one execution from start to epilogue, driven by a schedule or by a strategy.

A run ends in one of two ways: with a history, or with a problem, in words, that makes its verdict unknown.  One
in which real time had a part (a key expired by the server's own clock) is run once more, if that may help.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from cacheproof.harness.epilogue import conclude
from cacheproof.harness.execution import Execution
from cacheproof.harness.recorder import Recorder
from cacheproof.harness.world import World
from cacheproof.models.decision import Decision
from cacheproof.models.errors import CacheError, EnvironmentFault, ReplayMismatch
from cacheproof.models.event import Event
from cacheproof.models.history import History
from cacheproof.models.schedule import Scenario, Schedule

__all__ = ["Run", "Runner"]

Drive = Callable[[Execution], None]


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one run: the decisions really taken, the history, and what went wrong, if anything.

    `output` is what clients printed, `connections` the most that one of them held at the end.
    """

    schedule: Schedule
    history: History
    problem: str | None = None
    output: str = ""
    connections: int = 0


class Runner:
    """Runs schedules in one world, and counts them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.runs = 0

    def drive(
        self,
        scenario: Scenario,
        drive: Drive,
        observer: Callable[[Event], None] | None = None,
        *,
        repeats: bool = True,
    ) -> Run:
        """Run whatever `drive` decides, then the epilogue; `repeats` as in `end`.

        Raises EnvironmentFault if a server or a port failed meanwhile.
        """
        self.runs += 1
        execution = problem = None
        try:
            execution = Execution(self.world, scenario, observer)
            drive(execution)
            conclude(execution)
        except (CacheError, ReplayMismatch) as error:
            problem = str(error)
        except (ConnectionError, EnvironmentFault) as error:
            self.abandon(execution)
            raise self.world.fault_of(error) from error
        except BaseException:
            self.abandon(execution)
            raise
        return self.end(scenario, execution, problem, repeats=repeats)

    def end(
        self, scenario: Scenario, execution: Execution | None, problem: str | None, *, repeats: bool = True
    ) -> Run:
        """End a run that is over, or that a problem has ended; None if it did not even begin.

        Where real time had a part in it, the same decisions are taken once more if it `repeats`.
        """
        if execution is None:
            nothing = Recorder(scenario, self.world.clock).history()
            return Run(Schedule(scenario, ()), nothing, problem, self.world.take_output())
        run = self._end(execution, problem)
        disturbance = self.world.disturbance()
        if disturbance is None:
            return run
        if disturbance.again and repeats:
            return self.attempt(scenario, run.schedule.decisions)
        return replace(run, problem=disturbance.reason)

    def _end(self, execution: Execution, problem: str | None) -> Run:
        if problem is not None or self.world.looks_closely:
            found = execution.find_bypass()
            problem = "\n".join(dict.fromkeys(item for item in (found, problem) if item)) or None
        held = max(execution.crew.connections().values(), default=0)
        execution.end()
        output = self.world.take_output()
        return Run(execution.schedule(), execution.recorder.history(), problem, output, held)

    @staticmethod
    def abandon(execution: Execution | None) -> None:
        """End the clients of a run in which the harness itself was interrupted, without another word to them."""
        if execution is not None:
            execution.crew.kill()

    def replay(
        self, schedule: Schedule, observer: Callable[[Event], None] | None = None, *, anew: bool = True
    ) -> Run:
        """Run exactly these decisions, in new processes unless `anew` is False.

        It is a problem of the run if one of them is not enabled when its turn comes.
        """

        def strictly(execution: Execution) -> None:
            for decision in schedule.decisions:
                execution.take(decision)

        if anew:
            self.world.end_idle()
        return self.drive(schedule.scenario, strictly, observer, repeats=False)

    def attempt(self, scenario: Scenario, decisions: tuple[Decision, ...]) -> Run:
        """Run those of these decisions that are enabled when their turn comes."""

        def leniently(execution: Execution) -> None:
            for decision in decisions:
                if execution.is_enabled(decision):
                    execution.take(decision)

        return self.drive(scenario, leniently, repeats=False)
