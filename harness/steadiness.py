"""Does a cache do the same again?  Schedules are replayed, and their histories compared byte for byte.

A process serves many runs, so what a cache keeps outside its instance would pass from run to run.  The cause
of a difference follows from three replays in new processes:

    they differ among themselves        chance, or time that the run does not control
    they agree, and the first run was
        in a process that had served    something kept in the process: in a module, a class, an lru_cache
        in a new process as well        something kept outside the process: a file, a table, another server

The second case can be mended by giving every run new processes; the others cannot.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cacheproof.harness.proof import difference
from cacheproof.harness.runner import Run, Runner

__all__ = ["Doubt", "first_doubt"]

_MORE_REPLAYS = 2


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why runs cannot be repeated.  `mendable` if it would help to give every run new processes."""

    reason: str
    mendable: bool = False


def first_doubt(runner: Runner, sample: Sequence[Run]) -> Doubt | None:
    """Replay runs in new processes; the first difference, with its cause, or None if there is none.

    The first run of the sample has to be one in new processes.
    """
    runner.world.suspicious = True  # who goes around the wire is seldom steady
    for position, run in enumerate(sample):
        if run.problem is None:
            again = runner.replay(run.schedule)
            if _outcome(again) != _outcome(run):
                served = position > 0 and runner.world.reuse_processes
                return _cause(runner, run, again, served=served)
    runner.world.suspicious = False
    return None


def _cause(runner: Runner, run: Run, again: Run, *, served: bool) -> Doubt:
    more = [runner.replay(run.schedule) for _ in range(_MORE_REPLAYS)]
    what = again.problem or difference([run, again])
    told = f"a schedule gave two histories: {what}"
    if any(_outcome(item) != _outcome(again) for item in more):
        return Doubt(
            f"{told}; the cache uses chance or time that the run does not control: take them from Python's random, "
            "uuid, secrets and time, not from the system or a server"
        )
    if served:
        return Doubt(f"{told}; the cache keeps something outside its instance", mendable=True)
    return Doubt(
        f"{told}; the cache keeps something outside its process that is not put back between runs (a file, a table "
        "of its own, another server)"
    )


def _outcome(run: Run) -> tuple[str | None, str]:
    return run.problem, run.history.to_jsonl()
