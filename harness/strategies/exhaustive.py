"""Exhaustive small scope: every schedule of a small program, each run once from the start.

Stateless search, depth first: a run is steered by the choices of its prefix and takes the first option at
every later point; then the last choice that has another option is changed.  The options at a point depend on
nothing but the choices before it, so every schedule of the scope is run exactly once (Godefroid, Model
Checking for Programming Languages using VeriSoft, POPL 1997, without reduction).

One reader and one writer of cache-aside make 10 schedules, two writers 6, a reader and two writers 210.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cacheproof.harness.execution import Execution
from cacheproof.harness.strategies.moves import Move, begin, deliveries, faults, is_free, mending, take
from cacheproof.models.contract import Condition
from cacheproof.models.errors import CacheError

__all__ = ["SCOPES", "Explorer", "Program", "SmallScope", "scopes_for", "steer"]

Program = tuple[tuple[str, ...], ...]
"""What each client does, in order: (("read",), ("write",)) is one reader and one writer."""

_MOST_MOVES = 60


@dataclass(frozen=True, slots=True)
class SmallScope:
    """A program on one key, with at most `faults` faults of the condition at any point.

    With `sequences` > 0 the program is instead every sequence of so many operations by `clients` clients,
    one at a time.
    """

    name: str
    program: Program = ()
    faults: int = 0
    sequences: int = 0

    @property
    def clients(self) -> int:
        return 2 if self.sequences else len(self.program)


SCOPES = {
    "1 reader × 1 writer": (("read",), ("write",)),
    "2 writers": (("write",), ("write",)),
    "1 writer": (("write",),),
    "1 reader × 2 writers": (("read",), ("write",), ("write",)),
}


def scopes_for(condition: Condition, names: Sequence[str]) -> list[SmallScope]:
    """The scopes that are searched under a condition, smallest first."""
    if condition is Condition.QUIET:
        return [SmallScope("every sequence of 3 operations by 2 clients", sequences=3)]
    with_fault = 1 if condition is not Condition.CONCURRENT else 0
    suffix = f", one fault ({condition.value})" if with_fault else ""
    return [SmallScope(name + suffix, SCOPES[name], with_fault) for name in names]


class Explorer:
    """The choices of the current path, and how to get to the next one."""

    def __init__(self) -> None:
        self.unsteady = False
        self._path: list[tuple[int, int]] = []
        self._at = 0

    def restart(self) -> None:
        """Begin a run along the current path."""
        self._at = 0

    def choose(self, options: Sequence[Move]) -> Move:
        """The option of the current path at this point; the first one where the path has ended.

        Raises CacheError, and is unsteady from then on, if there are not as many as when it was taken before.
        """
        if self._at == len(self._path):
            self._path.append((0, len(options)))
        index, count = self._path[self._at]
        if count != len(options):
            self.unsteady = True
            raise CacheError(
                f"after the same {self._at} choices there were {count} possibilities, and then {len(options)}; the "
                "cache uses chance or time that the run does not control, or keeps something outside its instance"
            )
        self._at += 1
        return options[index]

    def advance(self) -> bool:
        """Go to the next path.  False when all have been taken."""
        del self._path[self._at :]
        while self._path:
            index, count = self._path.pop()
            if index + 1 < count:
                self._path.append((index + 1, count))
                return True
        return False


def steer(execution: Execution, scope: SmallScope, condition: Condition, explorer: Explorer) -> None:
    """Run one schedule of the scope to its end, along the explorer's path."""
    explorer.restart()
    done = [0] * execution.scenario.processes
    spent = 0
    for _ in range(_MOST_MOVES):
        steps = list(_steps(execution, scope, done))
        mended = mending(execution, condition) if spent else []
        if not steps and not (mended and any(map(execution.operation, range(scope.clients)))):
            return
        broken = faults(execution, condition) if spent < scope.faults else []
        move = explorer.choose([*(step for _, step in steps), *mended, *broken])
        spent += move in broken
        starts = [client for client, step in steps if step is move and client is not None]
        take(execution, move)
        for client in starts:
            done[client] += 1


def _steps(execution: Execution, scope: SmallScope, done: list[int]) -> Iterator[tuple[int | None, Move]]:
    """What can be done without a fault: (the client whose program goes on, or None; the move)."""
    key = execution.scenario.keys[0]
    if scope.sequences:
        yield from _sequential_steps(execution, scope, done, key)
        return
    for move in deliveries(execution):
        yield None, move
    for client, operations in enumerate(scope.program):
        if is_free(execution, client) and done[client] < len(operations):
            yield client, begin(execution, client, operations[done[client]], key)


def _sequential_steps(
    execution: Execution, scope: SmallScope, done: list[int], key: str
) -> Iterator[tuple[int | None, Move]]:
    """One operation at a time: the first pending exchange, if there is one, else any operation."""
    if pending := deliveries(execution):
        yield None, pending[0]
    elif sum(done) < scope.sequences:
        for client in range(execution.scenario.clients):
            for f in ("read", "write"):
                yield client, begin(execution, client, f, key)
