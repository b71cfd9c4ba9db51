"""`harness/parallel.py`: two halves of a search that give what one search gives."""

import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.harness.parallel import _weight, halves, side_by_side
from cacheproof.harness.profiles import Profile
from cacheproof.harness.verify import verify
from cacheproof.models.contract import ALL_CONDITIONS, Condition
from cacheproof.models.errors import HarnessError, UsageError
from cacheproof.models.report import Report
from cacheproof.patterns.cache_aside import CACHE_ASIDE, CacheAside

SMALL = Profile("small", ("1 reader × 1 writer",), scope_limit=40, random=3, confirmations=2)
EMPTY = Report(cache="none", contract="none", profile="none", seed=0, cells=())


def made(seed: int) -> Callable[[], Report]:
    return lambda: replace(EMPTY, seed=seed, cache=str(os.getpid()))


def test_every_condition_is_in_one_half() -> None:
    """Nothing is lost, nothing twice, the order stays, and `concurrent` is in the first half."""
    first, second = halves(ALL_CONDITIONS)
    assert sorted((*first, *second)) == sorted(ALL_CONDITIONS)
    assert Condition.CONCURRENT in first and second
    for half in (first, second):
        assert list(half) == [item for item in ALL_CONDITIONS if item in half]


def test_halves_are_about_as_long() -> None:
    """Of all conditions, and of the heavy ones: none of the two waits long for the other."""
    for conditions in (ALL_CONDITIONS, tuple(item for item in ALL_CONDITIONS if _weight(item) == 5)):
        weights = [sum(map(_weight, half)) for half in halves(conditions)]
        assert abs(weights[0] - weights[1]) <= max(map(_weight, conditions))


def test_what_takes_long() -> None:
    """Restarts of servers and many ways to fail; order alone is quick."""
    assert _weight(Condition.QUIET) < _weight(Condition.EXPIRY) < _weight(Condition.DATABASE_CRASH)
    assert _weight(Condition.SERVER_ERRORS) == _weight(Condition.PARTITION) == _weight(Condition.POWER_LOSS)


def test_the_second_half_runs_in_another_process() -> None:
    """Both reports come back; the second was made elsewhere."""
    one, two = side_by_side(made(1), made(2))
    assert (one.seed, two.seed) == (1, 2)
    assert one.cache == str(os.getpid()) != two.cache


def test_what_the_other_half_raises_is_raised_here() -> None:
    """An error made on purpose crosses over as itself."""

    def fail() -> Report:
        raise UsageError("no such thing")

    with pytest.raises(UsageError, match="no such thing"):
        side_by_side(made(1), fail)


def test_a_half_that_dies_is_named() -> None:
    """Sudden death there is an error here, not a wait."""

    def die() -> Report:
        os._exit(3)

    with pytest.raises(HarnessError, match="without a word"):
        side_by_side(made(1), die)


def test_an_error_here_ends_the_other_half() -> None:
    """Nothing goes on there when this half fails."""
    reading, writing = os.pipe()

    def wait() -> Report:
        os.close(reading)
        while True:
            os.sched_yield()

    def fail() -> Report:
        raise UsageError("stop")

    with pytest.raises(UsageError, match="stop"):
        side_by_side(fail, wait)
    os.close(writing)
    assert os.read(reading, 1) == b""  # the last holder of the other end is gone
    os.close(reading)


def test_two_halves_give_what_one_search_gives(chaos_servers: EmbeddedServers) -> None:
    """The same verdicts, scopes and counts of schedules for each guarantee and condition."""
    contract = CACHE_ASIDE().only(["CA4", "CA5"])
    under = [Condition.QUIET, Condition.CONCURRENT, Condition.APP_CRASH]
    whole, parts = (
        verify(CacheAside, contract, under=under, profile=SMALL, servers=chaos_servers, jobs=jobs)
        for jobs in (1, 2)
    )
    assert [(cell.guarantee, cell.condition) for cell in parts.cells] == [
        (cell.guarantee, cell.condition)
        for cell in sorted(whole.cells, key=lambda c: under.index(c.condition))
    ]
    for cell in whole.cells:
        other = parts.cell(cell.guarantee, cell.condition)
        assert (other.verdict, other.schedules) == (cell.verdict, cell.schedules)
        assert [item.schedule for item in other.counterexamples] == [
            item.schedule for item in cell.counterexamples
        ]
    assert parts.scopes == whole.scopes


def test_jobs_are_one_or_two(chaos_servers: EmbeddedServers) -> None:
    """Anything else is a usage error."""
    with pytest.raises(UsageError, match="jobs=3"):
        verify(CacheAside, CACHE_ASIDE(), servers=chaos_servers, jobs=3)
