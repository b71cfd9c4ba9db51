"""A session: what a test asks of a report, and the seed that an option names."""

from pathlib import Path
from typing import Any

import pytest

from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.harness.session import ChaosSession, Expect, read_seed, wrong_cells
from cacheproof.models.contract import Condition
from cacheproof.models.errors import UsageError
from cacheproof.models.report import Cell, Report
from cacheproof.models.verdict import Verdict
from cacheproof.patterns.cache_aside import CACHE_ASIDE, CacheAside


@pytest.mark.parametrize(
    ("verdict", "kept", "claims", "truth"),
    [
        (Verdict.UPHELD, True, True, True),
        (Verdict.UPHELD, False, True, False),  # better than its contract says: the table is wrong
        (Verdict.REFUTED, True, False, False),
        (Verdict.REFUTED, False, False, True),
        (Verdict.UNKNOWN, True, False, False),
        (Verdict.UNKNOWN, False, False, False),
        (Verdict.NOT_EXERCISED, True, True, False),
        (Verdict.NOT_EXERCISED, False, True, False),
    ],
)
def test_when_a_test_passes(verdict: Verdict, kept: bool, claims: bool, truth: bool) -> None:
    """CLAIMS wants no promise broken or in doubt; TRUTH wants exactly what the contract says is kept."""
    cell = Cell("X1", "a promise", Condition.CONCURRENT, verdict, 1, 1, kept)
    report = Report("Cache", "contract", "quick", 0, (cell,))
    assert (wrong_cells(report, Expect.CLAIMS) == []) is claims
    assert (wrong_cells(report, Expect.TRUTH) == []) is truth


@pytest.mark.parametrize(
    ("verdict", "kept", "truth"),
    [
        (Verdict.NOT_EXERCISED, True, True),
        (Verdict.NOT_EXERCISED, False, True),
        (Verdict.REFUTED, False, True),  # interleaving alone is enough
        (Verdict.REFUTED, True, False),
        (Verdict.UNKNOWN, True, False),  # the runs themselves are in doubt
    ],
)
def test_what_cannot_be_made_is_not_asked_for(verdict: Verdict, kept: bool, truth: bool) -> None:
    """Under a condition that the servers rule out, TRUTH wants nothing; but what was found there counts."""
    cell = Cell("X1", "a promise", Condition.CACHE_CRASH, verdict, 1, 0, kept, possible=False)
    report = Report("Cache", "contract", "quick", 0, (cell,))
    assert (wrong_cells(report, Expect.TRUTH) == []) is truth


def test_a_seed_is_a_number_or_drawn() -> None:
    """`random` draws another one each time."""
    assert read_seed("17") == 17
    drawn = {read_seed("random") for _ in range(5)}
    assert len(drawn) > 1 and all(0 <= seed < 2**31 for seed in drawn)


@pytest.mark.parametrize("text", ["-1", "1.5", "", "seven"])
def test_anything_else_is_no_seed(text: str) -> None:
    """UsageError, with the value."""
    with pytest.raises(UsageError, match=f"the seed is '{text}'"):
        read_seed(text)


def test_the_options_of_a_session_are_defaults(chaos_servers: EmbeddedServers, tmp_path: Path) -> None:
    """Profile and seed come from the session unless the call says otherwise; reports are kept."""
    session = ChaosSession(profile="quick", seed="4", folder=tmp_path, terminal=None)
    options: dict[str, Any] = {"under": [Condition.CONCURRENT], "budget": 0, "servers": chaos_servers}
    contract = CACHE_ASIDE().only(["CA5"])
    session.verify(CacheAside, contract, **options)
    session.verify(CacheAside, contract, **options, seed=9)
    assert [(report.profile, report.seed) for report in session.reports] == [("quick", 4), ("quick", 9)]
