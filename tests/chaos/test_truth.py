"""The truth table of the reference patterns: what `pytest -m chaos` is about.

Each pattern keeps exactly what its contract says it keeps: every kept guarantee is upheld, and every claim
that is not kept is refuted, under each condition, within the budget of the profile.
"""

from collections.abc import Callable
from typing import Any

import pytest

from cacheproof import (
    CACHE_ASIDE,
    CACHE_ASIDE_ASYNC,
    CACHE_ASIDE_DELETE_FIRST,
    CACHE_ASIDE_TTL_ONLY,
    CORE_CONDITIONS,
    READ_THROUGH,
    WRITE_BEHIND_LIST,
    WRITE_BEHIND_STREAM,
    WRITE_THROUGH,
    Condition,
    Expect,
    Report,
)
from cacheproof.patterns.cache_aside import CacheAside
from cacheproof.patterns.cache_aside_async import CacheAsideAsync
from cacheproof.patterns.cache_aside_delete_first import DeleteFirst
from cacheproof.patterns.cache_aside_ttl_only import NoInvalidation
from cacheproof.patterns.read_through import ReadThrough
from cacheproof.patterns.write_behind_list import WriteBehindList
from cacheproof.patterns.write_behind_stream import WriteBehindStream
from cacheproof.patterns.write_through import WriteThrough

pytestmark = pytest.mark.chaos

Verify = Callable[..., Report]

SHORT = [Condition.QUIET, Condition.CONCURRENT, Condition.APP_CRASH]
"""For variants, whose other conditions are in the truth table (`cacheproof matrix`): these have to be quick."""

UNLESS_THOROUGH = "quick"
"""Enough for variants: what refutes them stands among the first schedules of a small scope."""


@pytest.fixture
def variants(request: pytest.FixtureRequest) -> str:
    """The profile for variants of a pattern: quick, unless the session is thorough."""
    chosen = str(request.config.getoption("--chaos-profile"))
    return chosen if chosen == "thorough" else UNLESS_THOROUGH


class CacheAsideForever(CacheAside):
    """Cache-aside whose entries never expire: nothing heals what goes wrong."""

    def __init__(self, env: Any) -> None:
        super().__init__(env, ttl=None)


def anomalies(report: Report) -> set[str]:
    return {found.anomaly for found in report.counterexamples}


def expect_minimal(report: Report) -> None:
    """Every counterexample is minimal and gave the same history in each replay."""
    for found in report.counterexamples:
        assert found.minimal, found.anomaly
        assert found.replayed == found.replays > 0, found.anomaly


def test_cache_aside(verify: Verify) -> None:
    """A reader that missed before a write fills after it (1), and keeps the stale value beyond the ttl (23)."""
    report = verify(CacheAside, CACHE_ASIDE(), expect=Expect.TRUTH)
    assert {"stale-set", "staleness-beyond-ttl"} <= anomalies(report)
    expect_minimal(report)
    stale = report.cell("CA4", Condition.CONCURRENT).counterexample
    assert stale is not None
    assert len(stale.schedule.decisions) == 7


def test_cache_aside_without_ttl(verify: Verify, variants: str) -> None:
    """Without a ttl nothing heals: a crash between UPDATE and DEL leaves the cache stale for ever (39)."""
    report = verify(
        CacheAsideForever,
        CACHE_ASIDE(ttl_s=None),
        under=[Condition.QUIET, Condition.CONCURRENT, Condition.APP_CRASH],
        profile=variants,
        expect=Expect.TRUTH,
    )
    assert {"stale-set", "crash-before-invalidation"} <= anomalies(report)
    expect_minimal(report)


def test_cache_aside_async(verify: Verify, variants: str) -> None:
    """The same pattern on asyncio has the same truth table."""
    report = verify(CacheAsideAsync, CACHE_ASIDE_ASYNC(), under=SHORT, profile=variants, expect=Expect.TRUTH)
    assert "stale-set" in anomalies(report)


def test_delete_before_update(verify: Verify, variants: str) -> None:
    """DEL before UPDATE: a reader fills in between (2)."""
    report = verify(
        DeleteFirst, CACHE_ASIDE_DELETE_FIRST(), under=SHORT, profile=variants, expect=Expect.TRUTH
    )
    assert "pre-delete-race" in anomalies(report)
    expect_minimal(report)


def test_ttl_only(verify: Verify, variants: str) -> None:
    """A write that never touches the cache stays hidden until the ttl, even with one client at a time."""
    report = verify(
        NoInvalidation, CACHE_ASIDE_TTL_ONLY(), under=SHORT, profile=variants, expect=Expect.TRUTH
    )
    assert "no-invalidation" in anomalies(report)


def test_read_through(verify: Verify, variants: str) -> None:
    """Read-through has the consistency of cache-aside, and its stale set."""
    report = verify(ReadThrough, READ_THROUGH(), under=SHORT, profile=variants, expect=Expect.TRUTH)
    assert "stale-set" in anomalies(report)


def test_write_through(verify: Verify) -> None:
    """Two writers' SETs in the other order (6), and a reader's fill over a newer SET (7)."""
    report = verify(WriteThrough, WRITE_THROUGH(), expect=Expect.TRUTH)
    assert {"write-through-reorder", "fill-over-write-through"} <= anomalies(report)
    expect_minimal(report)


def test_write_behind_list(verify: Verify, variants: str) -> None:
    """A cache crash loses acknowledged writes (51); a worker that pops and crashes loses one (55)."""
    report = verify(WriteBehindList, WRITE_BEHIND_LIST(), profile=variants, expect=Expect.TRUTH)
    assert {"lost-write-behind", "pop-then-crash"} <= anomalies(report)
    expect_minimal(report)


def test_write_behind_stream(verify: Verify, variants: str) -> None:
    """A Stream with a consumer group survives its worker's crash, but not the cache's (51)."""
    report = verify(
        WriteBehindStream,
        WRITE_BEHIND_STREAM(),
        under=CORE_CONDITIONS,
        profile=variants,
        expect=Expect.TRUTH,
    )
    assert "lost-write-behind" in anomalies(report)
    assert "pop-then-crash" not in anomalies(report)
    expect_minimal(report)
