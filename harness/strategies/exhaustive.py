"""Exhaustive small scope: every schedule of a small program, each run once from the start.

Stateless search, depth first: a run is steered by the choices of its prefix and takes the first option at
every later point; then the last choice that has another option is changed.  The options at a point depend on
nothing but the choices before it, so every schedule of the scope is run exactly once (Godefroid, Model
Checking for Programming Languages using VeriSoft, POPL 1997, without reduction).

One reader and one writer of cache-aside make 10 schedules, two writers 6, a reader and two writers 210.

A scope is asked for by its shape ("1 reader × 1 writer"), and the operations of the contract take the parts.
Whoever only looks, or only fills the cache, is a reader; whoever changes something, or locks it, a writer:

    read, write                 1 reader × 1 writer
    read, increment             1 reader × 1 incrementer
    read, write, delete         1 reader × 1 writer, 1 reader × 1 deleter
    read, write, warm_up        1 reader × 1 writer, 1 warm-up × 1 writer
    acquire, release            1 holder (acquires, then releases): "2 writers" are 2 holders
    read, warm_up               who changes nothing is set against his own kind: 2 readers, 1 reader × 1 warm-up
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, groupby, product

from cacheproof.harness.execution import Execution
from cacheproof.harness.strategies.moves import (
    Move,
    begin,
    begins,
    begun_badly,
    deliveries,
    faults,
    is_free,
    is_sensible,
    mending,
    take,
    wakes,
)
from cacheproof.models.contract import Condition
from cacheproof.models.decision import Invoke
from cacheproof.models.errors import CacheError
from cacheproof.models.workload import READ_AND_WRITE, kind_of

__all__ = ["SCOPES", "Explorer", "Program", "SmallScope", "scopes_for", "steer"]

Program = tuple[tuple[str, ...], ...]
"""What each client does, in order: (("read",), ("write",)) is one reader and one writer."""

_MOST_MOVES = 60


@dataclass(frozen=True, slots=True)
class SmallScope:
    """A program on the first key (or on all), with at most `faults` faults of the condition at any point.

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


_READERS: Mapping[str, str] = {"read": "reader", "read_many": "reader of all keys", "warm_up": "warm-up"}
_WRITERS: Mapping[str, str] = {
    "write": "writer",
    "delete": "deleter",
    "increment": "incrementer",
    "write_many": "writer of all keys",
    "acquire": "holder",
}
"""Who begins with an operation, in words; a holder goes on to release."""


def scopes_for(
    condition: Condition, names: Sequence[str], operations: Sequence[str] = READ_AND_WRITE
) -> list[SmallScope]:
    """The scopes of these shapes that are searched under a condition, with clients that do `operations`."""
    if condition is Condition.QUIET:
        return [SmallScope("every sequence of 3 operations by 2 clients", sequences=3)]
    with_fault = 1 if condition is not Condition.CONCURRENT else 0
    suffix = f", one fault ({condition.value})" if with_fault else ""
    programs = dict(item for name in names for item in _programs(SCOPES[name], operations))
    return [SmallScope(name + suffix, program, with_fault) for name, program in programs.items()]


def _programs(shape: Program, operations: Sequence[str]) -> Iterator[tuple[str, Program]]:
    """(name, program) of every cast of a shape, each set of clients once.

    Of shapes with two writers and a reader, which are large, only those in which the writers do the same are
    played, and a warm-up takes the place of one of them.
    """
    readers = [f for f in operations if f in _READERS]
    writers = [f for f in operations if f in _WRITERS]
    readers, writers = readers or writers, writers or readers
    looking = sum(part == ("read",) for part in shape)
    changing = len(shape) - looking
    casts = list(
        product(
            combinations_with_replacement(readers, looking), combinations_with_replacement(writers, changing)
        )
    )
    if looking and changing > 1:
        casts = [cast for cast in casts if len(set(cast[1])) == 1 and cast[0][0] != "warm_up"]
        casts += [(("read", "warm_up"), (f,)) for f in writers if {"read", "warm_up"} <= set(readers)]
    for one, other in casts:
        actors = tuple(sorted((*one, *other), key=_place))
        yield _name(actors), tuple(_program(f, operations) for f in actors)


def _place(f: str) -> int:
    return [*_READERS, *_WRITERS].index(f)


def _name(actors: Sequence[str]) -> str:
    """ "1 reader × 2 writers"."""
    words = ({**_READERS, **_WRITERS}[f] for f in actors)
    return " × ".join(_counted(word, len(list(same))) for word, same in groupby(words))


def _counted(word: str, number: int) -> str:
    if number == 1:
        return f"1 {word}"
    noun, *rest = word.split(" ", 1)
    return " ".join([str(number), f"{noun}s", *rest])


def _program(f: str, operations: Sequence[str]) -> tuple[str, ...]:
    return ("acquire", "release") if f == "acquire" and "release" in operations else (f,)


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
        broken = _broken(execution, condition, steps) if spent < scope.faults else []
        move = explorer.choose([*steps, *mended, *broken])
        spent += move in broken
        take(execution, move)
        if isinstance(move[0], Invoke):
            done[move[0].client] += 1


def _broken(execution: Execution, condition: Condition, steps: Sequence[Move]) -> list[Move]:
    return faults(execution, condition) + begun_badly(execution, condition, steps)


def _steps(execution: Execution, scope: SmallScope, done: list[int]) -> Iterator[Move]:
    """What can be done without a fault; what begins with an invocation goes on with that client's program."""
    key = execution.scenario.keys[0]
    if scope.sequences:
        yield from _sequential_steps(execution, scope, done, key)
        return
    yield from deliveries(execution)
    for client, operations in enumerate(scope.program):
        left = operations[done[client] :]
        if left and is_free(execution, client) and is_sensible(execution, client, left[0]):
            yield begin(execution, client, left[0], key if kind_of(left[0]).on_one_key else None)
    yield from wakes(execution)


def _sequential_steps(execution: Execution, scope: SmallScope, done: list[int], key: str) -> Iterator[Move]:
    """One operation at a time: the first pending exchange, if there is one, else any operation."""
    if pending := deliveries(execution):
        yield pending[0]
    elif sum(done) < scope.sequences:
        for client in range(execution.scenario.clients):
            yield from begins(execution, client, [key])
