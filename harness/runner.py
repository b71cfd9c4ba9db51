"""Runs: one execution from start to epilogue, driven by a schedule or by a strategy.

A run ends in one of two ways: with a history, or with a problem, in words, that makes its verdict unknown.
"""

from collections.abc import Callable
from dataclasses import dataclass

from cacheproof.harness.epilogue import conclude
from cacheproof.harness.execution import Execution
from cacheproof.harness.world import World
from cacheproof.models.decision import Decision
from cacheproof.models.errors import CacheError, ReplayMismatch
from cacheproof.models.event import Event
from cacheproof.models.history import History
from cacheproof.models.schedule import Scenario, Schedule

__all__ = ["Run", "Runner"]

Drive = Callable[[Execution], None]


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one run: the decisions really taken, the history, and what went wrong, if anything."""

    schedule: Schedule
    history: History
    problem: str | None = None
    output: str = ""


class Runner:
    """Runs schedules in one world, and counts them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.runs = 0

    def drive(self, scenario: Scenario, drive: Drive, observer: Callable[[Event], None] | None = None) -> Run:
        """Run whatever `drive` decides, then the epilogue."""
        self.runs += 1
        execution = Execution(self.world, scenario, observer)
        problem = None
        try:
            drive(execution)
            conclude(execution)
        except (CacheError, ReplayMismatch) as error:
            problem = str(error)
        finally:
            execution.end()
        return Run(execution.schedule(), execution.recorder.history(), problem, self.world.take_output())

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
        return self.drive(schedule.scenario, strictly, observer)

    def attempt(self, scenario: Scenario, decisions: tuple[Decision, ...]) -> Run:
        """Run those of these decisions that are enabled when their turn comes."""

        def leniently(execution: Execution) -> None:
            for decision in decisions:
                if execution.is_enabled(decision):
                    execution.take(decision)

        return self.drive(scenario, leniently)
