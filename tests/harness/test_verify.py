"""`verify`: the whole way from a cache and a contract to a report, on real servers."""

from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cacheproof.chaos.servers.containers import ContainerServers
from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.harness.profiles import Profile
from cacheproof.harness.store import FailureStore
from cacheproof.harness.verify import verify
from cacheproof.models.contract import Condition, Contract, Guarantee
from cacheproof.models.durability import Durability
from cacheproof.models.errors import UsageError
from cacheproof.models.history import History
from cacheproof.models.integrity import Integrity
from cacheproof.models.verdict import Judgement, Verdict
from cacheproof.patterns.cache_aside import CACHE_ASIDE, CacheAside

SMALL = Profile("small", ("1 reader × 1 writer",), scope_limit=40, random=0, confirmations=3)
FRESH = CACHE_ASIDE().only(["CA4"])
CONCURRENT = (Condition.CONCURRENT,)


@dataclass(frozen=True)
class Raising:
    """A property with a bug."""

    name: str = "raising"
    probes_s: tuple[float, ...] = ()

    def check(self, history: History) -> Judgement:
        raise ZeroDivisionError("oops")


@pytest.fixture
def judge(chaos_servers: EmbeddedServers) -> Any:
    """`verify` on the servers of the session, small unless told otherwise."""

    def call(cache: Any, contract: Contract, **options: Any) -> Any:
        return verify(cache, contract, **({"servers": chaos_servers, "profile": SMALL} | options))

    return call


def test_a_broken_promise_has_a_counterexample(judge: Any) -> None:
    """Minimal, replayed, drawn, and with the place in the search where it was found."""
    report = judge(CacheAside, FRESH, under=CONCURRENT)
    assert report.verdict is Verdict.REFUTED
    found = report.cell("CA4", Condition.CONCURRENT).counterexample
    assert found.anomaly == "stale-set"
    assert (found.minimal, found.replayed, found.replays) == (True, 3, 3)
    assert found.found_by == "the exhaustive 1 reader × 1 writer" and 1 <= found.found_after <= 10
    assert (len(found.schedule.decisions), found.shrunk_from >= 7) == (7, True)
    assert found.shrink_replays > 0 and found.replay_command is None
    assert found.finding.culprit.final and found.history.operations[0].f == "read"
    last = found.snapshots[-1]
    assert last.cache["user:1"][0] == "v1" and last.database["user:1"] == "v2"


def test_a_kept_promise_is_upheld(judge: Any) -> None:
    """After all of its schedules, each of which had something to judge."""
    report = judge(CacheAside, CACHE_ASIDE().only(["CA1", "CA5"]), under=CONCURRENT)
    assert [(cell.verdict, cell.schedules, cell.exercised) for cell in report.cells] == [
        (Verdict.UPHELD, 10, 10)
    ] * 2
    assert report.verdict is Verdict.UPHELD and report.counterexamples == ()


def test_a_report_says_what_was_done(judge: Any) -> None:
    """Cache, contract, profile, seed, servers, scopes and how much it took."""
    report = judge(CacheAside, FRESH, under=CONCURRENT, seed=3)
    assert (report.cache, report.contract, report.profile, report.seed) == (
        "CacheAside",
        "cache-aside",
        "small",
        3,
    )
    (scope,) = report.scopes
    assert (scope.name, scope.schedules, scope.complete) == ("1 reader × 1 writer", 10, True)
    assert set(report.servers) == {"cache", "database"}
    assert report.schedules > 10 and report.seconds > 0


def test_under_narrows_the_conditions(judge: Any) -> None:
    """Only these, in their order; of a contract that claims a guarantee elsewhere, nothing is left."""
    report = judge(CacheAside, CACHE_ASIDE().only(["CA1"]), under=(Condition.CACHE_CRASH, Condition.QUIET))
    assert [cell.condition for cell in report.cells] == [Condition.CACHE_CRASH, Condition.QUIET]
    nothing = judge(CacheAside, CACHE_ASIDE().only(["CA4"]).kept, under=CONCURRENT)
    assert (nothing.cells, nothing.verdict) == ((), Verdict.NOT_EXERCISED)


def test_budget_sets_the_random_schedules(judge: Any) -> None:
    """So many more than the small scopes had; one counterexample more or less does not change that."""
    contract = CACHE_ASIDE().only(["CA1"])
    counts = [
        judge(CacheAside, contract, under=CONCURRENT, budget=budget).cells[0].schedules for budget in (0, 12)
    ]
    assert counts[0] == 10 and counts[1] >= 22


def test_a_scope_that_is_given_up_says_so(judge: Any) -> None:
    """Completeness is stated, not assumed."""
    (scope,) = judge(
        CacheAside, FRESH, under=CONCURRENT, profile=Profile("tiny", SMALL.scopes, 4, 0, 1)
    ).scopes
    assert (scope.schedules, scope.complete) == (4, False)


def test_the_same_seed_gives_the_same_report(judge: Any) -> None:
    """Cells, counterexamples and histories; only the seconds differ."""
    reports = [judge(CacheAside, FRESH, under=CONCURRENT, budget=8, seed=5) for _ in range(2)]
    assert reports[0].cells == reports[1].cells


def test_progress_is_told(judge: Any) -> None:
    """What is being done, and a count that never falls."""
    told: list[tuple[str, int]] = []
    judge(CacheAside, FRESH, under=CONCURRENT, progress=lambda what, runs: told.append((what, runs)))
    assert "cache-aside, concurrent: 1 reader × 1 writer" in {what for what, _ in told}
    assert any("minimising stale-set" in what for what, _ in told)
    assert [runs for _, runs in told] == sorted(runs for _, runs in told)


# -- doubt -------------------------------------------------------------------------------------------------


def test_a_witness_is_shown_what_the_verdicts_rest_on(judge: Any) -> None:
    """Each history that was judged, with its condition, and none of those that minimising makes."""
    seen: list[tuple[Condition, History]] = []
    report = judge(
        CacheAside,
        FRESH,
        under=CONCURRENT,
        witness=lambda condition, history: seen.append((condition, history)),
    )
    assert {condition for condition, _ in seen} == {Condition.CONCURRENT}
    assert len(seen) == report.cells[0].schedules < report.schedules


def test_a_property_that_raises_is_unknown(judge: Any) -> None:
    """And the guarantees beside it are judged all the same."""
    contract = Contract("test", (Guarantee("X1", "a bug", Raising()), Guarantee("X2", "kept", Durability())))
    report = judge(CacheAside, contract, under=CONCURRENT)
    assert [cell.verdict for cell in report.cells] == [Verdict.UNKNOWN, Verdict.UPHELD]
    assert "raised ZeroDivisionError('oops')" in report.cells[0].reason


def test_a_cache_that_cannot_be_repeated_is_unknown(judge: Any, caches: ModuleType) -> None:
    """With the first point at which two runs of one schedule differ."""
    report = judge(
        caches.Counting, Contract("test", (Guarantee("X1", "whole", Integrity()),)), under=CONCURRENT
    )
    (cell,) = report.cells
    assert cell.verdict is Verdict.UNKNOWN
    assert "event" in cell.reason


def test_whether_a_cache_repeats_is_not_asked_where_it_is_known(judge: Any) -> None:
    """Then only the search costs runs."""
    kept = CACHE_ASIDE().only(["CA5"])
    runs = [
        judge(CacheAside, kept, under=CONCURRENT, profile=replace(SMALL, repeats=repeats)).schedules
        for repeats in (False, True)
    ]
    assert runs[0] == 10 < runs[1]


def test_a_cache_that_cannot_be_constructed_is_unknown(judge: Any) -> None:
    """No run could be made; the reason is the constructor's error, and the search is given up soon."""

    class Broken:
        def __init__(self, env: Any) -> None:
            raise ValueError("no such setting")

    report = judge(Broken, FRESH, under=CONCURRENT)
    assert report.verdict is Verdict.UNKNOWN
    assert "no such setting" in report.cells[0].reason
    assert report.schedules <= 6


def test_an_operation_that_never_ends_is_unknown(judge: Any, caches: ModuleType) -> None:
    """In words, with where it waits."""
    report = judge(caches.Stuck, FRESH, under=CONCURRENT)
    assert report.verdict is Verdict.UNKNOWN
    assert "never returns: no exchange is pending" in report.cells[0].reason


def test_a_condition_that_struck_nothing_is_not_exercised(judge: Any) -> None:
    """A cache without keys that expire, and operations that take no time, cannot meet an expiry."""

    class Nothing:
        def __init__(self, env: Any) -> None: ...

        def read(self, key: str) -> str:
            return "v1"

        def write(self, key: str, value: str) -> None: ...

    report = judge(
        Nothing, Contract("test", (Guarantee("X1", "whole", Integrity()),)), under=(Condition.EXPIRY,)
    )
    assert report.verdict is Verdict.NOT_EXERCISED
    assert report.cells[0].reason.startswith("no fault of 'expiry' touched an operation")


def test_a_cache_that_prints_is_told_so(judge: Any) -> None:
    """As a warning of the report, with its first words."""

    class Talking(CacheAside):
        def read(self, key: str) -> Any:
            print("hello from", key)
            return super().read(key)

    report = judge(Talking, CACHE_ASIDE().only(["CA1"]), under=CONCURRENT)
    assert any("hello from user:1" in warning for warning in report.warnings)
    assert report.verdict is Verdict.UPHELD


# -- failures that are kept --------------------------------------------------------------------------------


def test_a_failure_is_stored_and_tried_first(judge: Any, tmp_path: Path) -> None:
    """The second search finds it in its first run, and says that it knew it."""
    store = FailureStore(tmp_path)
    first = judge(CacheAside, FRESH, under=CONCURRENT, store=store)
    (path,) = (tmp_path / "anomalies").iterdir()
    assert first.counterexamples[0].replay_command == f"cacheproof replay {path}"
    again = judge(CacheAside, FRESH, under=CONCURRENT, store=store).counterexamples[0]
    assert (again.found_by, again.found_after) == ("a stored failure", 1)
    assert again.schedule == first.counterexamples[0].schedule
    assert list((tmp_path / "anomalies").iterdir()) == [path]


def test_a_failure_that_was_mended_is_forgotten(judge: Any, tmp_path: Path) -> None:
    """The cache of this name reads past the cache now, so nothing can be stale: the file goes."""

    def load(self: Any, key: str) -> Any:
        return self._load(key)

    same_name = {"__module__": CacheAside.__module__, "__qualname__": "CacheAside"}
    mended = type("CacheAside", (CacheAside,), {"read": load, **same_name})
    store = FailureStore(tmp_path)
    judge(CacheAside, FRESH, under=CONCURRENT, store=store)
    assert judge(mended, FRESH, under=CONCURRENT, store=store).verdict is Verdict.UPHELD
    assert list((tmp_path / "anomalies").iterdir()) == []


def test_a_strange_file_is_a_warning(judge: Any, tmp_path: Path) -> None:
    """It costs no verdict."""
    (tmp_path / "anomalies").mkdir()
    (tmp_path / "anomalies" / "strange.json").write_text("{")
    report = judge(CacheAside, CACHE_ASIDE().only(["CA1"]), under=CONCURRENT, store=FailureStore(tmp_path))
    assert report.verdict is Verdict.UPHELD
    assert any("strange.json" in warning for warning in report.warnings)


# -- arguments ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clients": 0}, "clients=0, keys=1: a run needs at least one of each"),
        ({"keys": 0}, "clients=2, keys=0"),
        ({"backend": "podman"}, "unknown backend 'podman'; choose from "),
        ({"backend": "docker", "servers": ContainerServers()}, "backend='docker' and servers are both given"),
        ({"profile": "quik"}, "unknown profile 'quik'; choose from quick, default, thorough"),
    ],
)
def test_arguments_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    """UsageError at once, before any server is started."""
    with pytest.raises(UsageError, match=message):
        verify(CacheAside, FRESH, **options)


def test_a_contract_without_guarantees() -> None:
    """There is nothing to verify, and that is nobody's intention."""
    with pytest.raises(UsageError, match="contract 'empty' has no guarantees"):
        verify(CacheAside, Contract("empty", ()))


def test_without_servers_they_are_started_for_the_call() -> None:
    """Nobody has to bring any."""
    report = verify(CacheAside, CACHE_ASIDE().only(["CA1"]), under=CONCURRENT, profile=SMALL)
    assert report.verdict is Verdict.UPHELD
