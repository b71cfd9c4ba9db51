"""Steadiness: what a difference between a run and its replays in new processes says of a cache."""

from types import SimpleNamespace
from typing import Any

import pytest

from cacheproof.harness.runner import Run
from cacheproof.harness.steadiness import Doubt, first_doubt
from cacheproof.models.event import Entered, Phase
from cacheproof.models.history import History
from cacheproof.models.schedule import Scenario, Schedule

PHASES = dict(zip("abcd", Phase, strict=True))


def run(said: str, problem: str | None = None) -> Run:
    """A run whose history is one event, different for each letter."""
    history = History(initial={}, events=(Entered(0, 0.0, PHASES[said]),), processes=1, workers=())
    return Run(Schedule(Scenario(), ()), history, problem)


class Replays:
    """Stands in for a Runner: gives the replays in the order of the letters."""

    def __init__(self, letters: str, *, reuse: bool) -> None:
        self.world: Any = SimpleNamespace(reuse_processes=reuse, suspicious=False)
        self.left = list(letters)

    def replay(self, schedule: Schedule) -> Run:
        return run(self.left.pop(0))


def doubt(sample: str, replays: str, *, reuse: bool = True) -> Doubt | None:
    runner: Any = Replays(replays, reuse=reuse)
    found = first_doubt(runner, [run(letter) for letter in sample])
    assert runner.left == [], "some replays were not made"
    assert runner.world.suspicious == (found is not None)
    return found


def test_the_same_again_is_no_doubt() -> None:
    """Each run of the sample is replayed once."""
    assert doubt("abc", "abc") is None


@pytest.mark.parametrize("replays", ["abbb", "abba"])
def test_a_difference_in_a_process_that_has_served_is_mendable(replays: str) -> None:
    """If the replays agree among themselves, whatever it is does not get into a new process."""
    found = doubt("ac", replays)
    assert found is not None and found.mendable is (replays == "abbb")


def test_replays_that_differ_among_themselves_are_chance() -> None:
    """New processes do not help, and the reason says where chance and time have to come from."""
    found = doubt("a", "bcb")
    assert found is not None and not found.mendable
    assert "the first difference is in event" in found.reason and "chance or time" in found.reason


@pytest.mark.parametrize(("sample", "replays", "reuse"), [("a", "bbb", True), ("ac", "abbb", False)])
def test_a_difference_between_new_processes_is_outside_of_them(
    sample: str, replays: str, reuse: bool
) -> None:
    """The first run has new processes, and every run if none is reused: a file, a table, another server."""
    found = doubt(sample, replays, reuse=reuse)
    assert found is not None and not found.mendable
    assert "outside its process" in found.reason


def test_runs_with_a_problem_are_not_replayed() -> None:
    """What went wrong is told as it is."""
    runner: Any = Replays("", reuse=True)
    assert first_doubt(runner, [run("a", problem="it hangs")]) is None
