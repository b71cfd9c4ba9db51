"""Hypothesis as a source of schedules: a state machine whose one rule takes a move.

The rule draws an index into the moves that are possible now: beginning any operation on any idle client,
delivering any pending exchange, or one of the condition's faults, which share a single place so that they do
not crowd out the rest.  An index finds the stale set in a third of the examples that one rule a kind of move
needs; the price, poor shrinking, is not ours to pay: shrinking is our own.

`search` runs the machine for a number of examples and hands every run to a callback: a failure does not end
the search, so one broken guarantee does not hide the others.
"""

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from cacheproof.harness.epilogue import conclude
from cacheproof.harness.execution import Execution
from cacheproof.harness.runner import Run, Runner
from cacheproof.harness.strategies.moves import (
    Move,
    begins,
    begun_badly,
    deliveries,
    faults,
    is_free,
    mending,
    take,
    wakes,
)
from cacheproof.models.contract import Condition
from cacheproof.models.errors import CacheError, EnvironmentFault
from cacheproof.models.schedule import Scenario

__all__ = ["MOST_MOVES", "make_machine", "possible_moves", "search"]

MOST_MOVES = 24
"""Moves a run, before the epilogue ends what is open."""

_MOST_FAULTS = 3


def possible_moves(execution: Execution, condition: Condition) -> tuple[list[Move], list[Move]]:
    """(steps, faults) that are possible now.  Under `quiet`, nothing but the open operation goes on."""
    pending = deliveries(execution)
    scenario = execution.scenario
    idle = [client for client in range(scenario.clients) if is_free(execution, client)]
    if condition is Condition.QUIET and (pending or len(idle) < scenario.clients):
        return pending[:1], []
    starts = [move for client in idle for move in begins(execution, client, scenario.keys)]
    broken = faults(execution, condition) + begun_badly(execution, condition, starts)
    return pending + starts + mending(execution, condition) + wakes(execution), broken


def make_machine(
    runner: Runner,
    condition: Condition,
    scenarios: Sequence[Scenario],
    judge: Callable[[Run], None],
    *,
    give_up: Callable[[], bool] = lambda: False,
    faults_of_machine: list[EnvironmentFault] | None = None,
) -> type[RuleBasedStateMachine]:
    """The class of a machine that makes one run an example and gives it to `judge`.

    Once `give_up` says so, examples do nothing.  A server or port that fails ends an example; with a list to
    keep the EnvironmentFault in, it is not raised, and the examples that follow do nothing either.
    """

    class ScheduleMachine(RuleBasedStateMachine):
        execution: Execution | None = None
        problem: str | None = None

        scenario: Scenario | None = None

        @initialize(scenario=st.sampled_from(list(scenarios)))
        def start(self, scenario: Scenario) -> None:
            if give_up() or faults_of_machine:
                return
            runner.runs += 1
            self.spent = 0
            self.scenario = scenario
            self.guarded(lambda: self.begin(scenario))

        def begin(self, scenario: Scenario) -> None:
            self.execution = Execution(runner.world, scenario)

        @rule(data=st.data())
        def decide(self, data: st.DataObject) -> None:
            execution = self.execution
            if execution is None or self.problem is not None:
                return
            steps, broken = possible_moves(execution, condition)
            choices = len(steps) + bool(broken and self.spent < _MOST_FAULTS)
            if not choices:
                return
            index = data.draw(st.integers(0, choices - 1))
            if index < len(steps):
                move = steps[index]
            else:
                self.spent += 1
                move = broken[data.draw(st.integers(0, len(broken) - 1))]
            self.guarded(lambda: take(execution, move))

        def guarded(self, act: Callable[[], None]) -> None:
            """What the cache does wrong ends the run, not the search."""
            try:
                act()
            except CacheError as error:
                self.problem = str(error)
            except (ConnectionError, EnvironmentFault) as error:
                self.abandon()
                fault = runner.world.fault_of(error)
                if faults_of_machine is None:
                    raise fault from error
                faults_of_machine.append(fault)
            except BaseException:
                self.abandon()
                raise

        def abandon(self) -> None:
            runner.abandon(self.execution)
            self.execution = self.scenario = None

        def teardown(self) -> None:
            execution = self.execution
            if execution is not None and self.problem is None:
                self.guarded(lambda: conclude(execution))
            if self.scenario is not None:
                judge(runner.end(self.scenario, self.execution, self.problem))

    return ScheduleMachine


def search(
    runner: Runner,
    condition: Condition,
    scenarios: Sequence[Scenario],
    judge: Callable[[Run], None],
    *,
    examples: int,
    number: int,
    give_up: Callable[[], bool] = lambda: False,
) -> None:
    """Run `examples` schedules that Hypothesis chooses from the seed `number`; `judge` sees every run.

    Ends early when `give_up` says so.  Raises EnvironmentFault if a server or a port failed meanwhile.
    """
    failed: list[EnvironmentFault] = []
    machine = make_machine(runner, condition, scenarios, judge, give_up=give_up, faults_of_machine=failed)
    chosen: Any = seed(number)(machine)
    run_state_machine_as_test(
        chosen,
        settings=settings(
            max_examples=examples,
            stateful_step_count=MOST_MOVES,
            phases=[Phase.generate],
            database=None,
            deadline=None,
            derandomize=False,
            print_blob=False,
            verbosity=Verbosity.normal,
            suppress_health_check=list(HealthCheck),
        ),
    )
    if failed:
        raise failed[0]
