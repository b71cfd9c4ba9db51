"""What runs add up to: counts, candidates, doubts, and the verdict of a guarantee that nothing refutes."""

from dataclasses import dataclass, replace

import pytest

from cacheproof.harness.evidence import (
    _EXCUSES_NOTHING,
    _MENDED_BY,
    Evidence,
    Tally,
    fault_happened,
    judge,
    verdict_of,
)
from cacheproof.harness.runner import Run
from cacheproof.models.contract import Condition, Contract, Guarantee
from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.event import Entered, Event, Exchanged, Faulted, Invoked, Phase, Returned
from cacheproof.models.fault import FAULTS
from cacheproof.models.history import History
from cacheproof.models.operation import Outcome
from cacheproof.models.schedule import Schedule
from cacheproof.models.trace import REPLICA_MARK
from cacheproof.models.verdict import Finding, Judgement, Verdict


@dataclass(frozen=True)
class Always:
    """A property with a fixed opinion."""

    judgement: Judgement
    name: str = "always"
    probes_s: tuple[float, ...] = ()

    def check(self, history: History) -> Judgement:
        return self.judgement


@dataclass(frozen=True)
class Raising:
    """A property with a bug."""

    name: str = "raising"
    probes_s: tuple[float, ...] = ()

    def check(self, history: History) -> Judgement:
        raise ZeroDivisionError("oops")


FINE = Guarantee("X1", "all is well", Always(Judgement(judged=2)))
BROKEN = Guarantee("X2", "all is not", Always(Judgement((Finding("always", "stale-read", "k"),), judged=1)))
DOUBTFUL = Guarantee("X3", "who knows", Always(Judgement(judged=1, unknown="gave up")))
IDLE = Guarantee("X4", "nothing to see", Always(Judgement()))
BUGGY = Guarantee("X5", "a bug", Raising())


def evidence(condition: Condition, *guarantees: Guarantee) -> Evidence:
    return Evidence(Contract("test", guarantees), condition)


def a_run(*events: Event, problem: str | None = None, output: str = "") -> Run:
    return Run(Schedule(), History({"k": "v1"}, events, processes=2), problem, output)


def read(at: int, error: str | None = None) -> tuple[Event, Event]:
    outcome = Outcome.OK if error is None else Outcome.FAIL
    return (
        Invoked(at, 0.0, process=0, f="read", key="k", value=None),
        Returned(at + 1, 0.0, process=0, outcome=outcome, value=None, error=error),
    )


def exchange(at: int, fate: Fate = Fate.DELIVERED) -> Exchanged:
    return Exchanged(at, 0.0, 0, ServerName.CACHE, "GET", ("GET", "k"), ("k",), None, fate=fate)


def fault(
    at: int,
    name: str,
    *,
    process: int | None = None,
    server: ServerName | None = None,
    overlapped: tuple[int, ...] = (),
) -> Faulted:
    return Faulted(at, 0.0, name, process, server, overlapped=overlapped)


def on_replica(at: int) -> Exchanged:
    request = (f"{REPLICA_MARK}select value from records",)
    return Exchanged(at, 0.0, 0, ServerName.DATABASE, "SELECT", request, ("k",), None)


CACHE, DATABASE = ServerName.CACHE, ServerName.DATABASE
READ = read(2)


def verdict(condition: Condition, guarantee: Guarantee, *runs: Run) -> tuple[Verdict, str | None]:
    gathered = evidence(condition, guarantee)
    for run in runs:
        gathered.add(run, "a test")
    return verdict_of(gathered.tallies.get(guarantee.id, Tally()), gathered)


def test_what_was_judged_and_not_broken_is_upheld() -> None:
    """Without a reason, for none is needed."""
    assert verdict(Condition.CONCURRENT, FINE, a_run(), a_run()) == (Verdict.UPHELD, None)


def test_a_problem_outweighs_success() -> None:
    """One run of three that could not be finished: unknown, with the first problem in words."""
    runs = (a_run(), a_run(problem="it hangs"), a_run(problem="it crashed"))
    assert verdict(Condition.CONCURRENT, FINE, *runs) == (
        Verdict.UNKNOWN,
        "in 2 of 3 schedules: it hangs",
    )


def test_doubt_outweighs_success() -> None:
    """A checker that gave up once leaves the guarantee unknown."""
    assert verdict(Condition.CONCURRENT, DOUBTFUL, a_run()) == (
        Verdict.UNKNOWN,
        "in 1 of 1 schedules: gave up",
    )


def test_a_property_that_raises_yields_unknown() -> None:
    """Never a pass, and never an exception."""
    assert judge(BUGGY, a_run().history).verdict is Verdict.UNKNOWN
    said, reason = verdict(Condition.CONCURRENT, BUGGY, a_run())
    assert said is Verdict.UNKNOWN
    assert reason is not None and "the check of X5 raised ZeroDivisionError('oops')" in reason


def test_nothing_to_judge_is_not_exercised() -> None:
    """With the reason: nothing to judge, or the error that operations failed with."""
    assert verdict(Condition.CONCURRENT, IDLE, a_run()) == (
        Verdict.NOT_EXERCISED,
        "there was nothing to judge in 1 schedules",
    )
    failing = a_run(*read(0, "ValueError: no"), *read(2, "ValueError: no"), *read(4, "KeyError: k"))
    assert verdict(Condition.CONCURRENT, IDLE, failing) == (
        Verdict.NOT_EXERCISED,
        "there was nothing to judge; operations failed, 2 of them with ValueError: no",
    )


def test_a_condition_whose_fault_never_struck_is_not_exercised() -> None:
    """However often the property was fine without it."""
    assert verdict(Condition.APP_CRASH, FINE, a_run(*read(0)), a_run()) == (
        Verdict.NOT_EXERCISED,
        "no fault of 'app crash' touched an operation in 2 schedules",
    )
    crashed = a_run(Faulted(0, 0.0, "crash", process=0, overlapped=(0,)))
    assert verdict(Condition.APP_CRASH, FINE, crashed) == (Verdict.UPHELD, None)


@pytest.mark.parametrize(
    ("condition", "events", "happened"),
    [
        (Condition.CONCURRENT, [], True),
        (Condition.QUIET, [], True),
        (Condition.APP_CRASH, [Faulted(0, 0.0, "crash", overlapped=(1,))], True),
        (Condition.APP_CRASH, [exchange(0), Faulted(1, 0.0, "crash", overlapped=())], False),
        (Condition.APP_CRASH, [Faulted(0, 0.0, "restart", overlapped=(1,))], False),
        (Condition.CACHE_CRASH, [Faulted(0, 0.0, "kill", overlapped=())], False),
        (Condition.CACHE_CRASH, [exchange(0), Faulted(1, 0.0, "kill", overlapped=())], True),
        (Condition.EXPIRY, [exchange(0), Faulted(1, 0.0, "expire", overlapped=())], True),
        (Condition.EXPIRY, [Faulted(0, 0.0, "advance", overlapped=(0,))], True),
        (Condition.LOST_MESSAGES, [exchange(0)], False),
        (Condition.LOST_MESSAGES, [exchange(0, Fate.REQUEST_LOST)], True),
        (Condition.LOST_MESSAGES, [exchange(0, Fate.REPLY_LOST)], True),
        (Condition.LOST_MESSAGES, [exchange(0, Fate.REFUSED)], False),
        (Condition.SERVER_ERRORS, [exchange(0, Fate.REFUSED)], True),
        (Condition.DELAYED_MESSAGES, [exchange(0, Fate.DELAYED)], True),
        # of a client: only if its own operation is open
        (Condition.APP_CRASH, [fault(0, "crash", process=0, overlapped=(1,))], False),
        (Condition.APP_PAUSE, [fault(0, "pause", process=0, overlapped=(0, 1))], True),
        (Condition.APP_PAUSE, [exchange(0), fault(1, "pause", process=1)], False),
        # of a server: only if that one was used
        (Condition.DATABASE_CRASH, [exchange(0), fault(1, "kill", server=DATABASE)], False),
        (Condition.CACHE_CRASH, [exchange(0), fault(1, "kill", server=CACHE)], True),
        (Condition.CACHE_DOWN, [fault(0, "freeze", server=DATABASE, overlapped=(1,))], True),
        # what goes on is met by whoever begins meanwhile
        (Condition.CACHE_DOWN, [fault(0, "partition", server=CACHE), *READ], True),
        (Condition.CACHE_DOWN, [fault(0, "partition", server=CACHE), fault(1, "heal"), *READ], False),
        (Condition.PARTITION, [fault(0, "partition", process=1, server=CACHE), *READ], False),
        (Condition.CLOCK_SKEW, [fault(0, "skew", process=0), *READ], True),
        (Condition.CLOCK_SKEW, [fault(0, "skew", process=1), *READ], False),
        # a replica that lags has to be asked
        (Condition.REPLICA_LAG, [exchange(0), fault(1, "lag", overlapped=(0,)), *READ, exchange(4)], False),
        (Condition.REPLICA_LAG, [fault(0, "lag"), on_replica(1)], True),
        (Condition.REPLICA_LAG, [fault(0, "lag"), fault(1, "replicate"), on_replica(2)], False),
        # the epilogue, and what is no fault of the condition or unknown
        (Condition.EXPIRY, [exchange(0), Entered(1, 0.0, Phase.HEAL), fault(2, "expire")], False),
        (Condition.EXPIRY, [exchange(0), fault(1, "evict")], False),
        (Condition.EXPIRY, [exchange(0), fault(1, "gremlin")], False),
    ],
)
def test_when_a_fault_counts(condition: Condition, events: list[Event], happened: bool) -> None:
    """It met an open operation, or a server that had been used; conditions without faults always count."""
    assert fault_happened(a_run(*events).history, condition) is happened


@pytest.mark.parametrize("name", [name for name, item in FAULTS.items() if item.mends])
def test_what_mends_proves_nothing(name: str) -> None:
    """Whatever it overlaps, it is not the fault of its condition."""
    for condition in FAULTS[name].conditions:
        history = a_run(exchange(0), fault(1, name, overlapped=(0, 1))).history
        assert not fault_happened(history, condition)


def test_every_fault_that_goes_on_is_in_the_catalogue() -> None:
    """So is what mends it, and what excuses no error."""
    assert set(_MENDED_BY) | {name for name in _MENDED_BY.values() if name} | _EXCUSES_NOTHING <= set(FAULTS)


@pytest.mark.parametrize(
    ("broken", "told"), [("expire", 1), ("evict", 1), ("skew", 1), ("start", 1), ("kill", 0), ("pause", 0)]
)
def test_errors_are_excused_by_what_breaks_something(broken: str, told: int) -> None:
    """A key that is gone is no reason for an operation to fail; a server that is gone is one."""
    gathered = evidence(Condition.CONCURRENT, FINE)
    gathered.add(a_run(fault(0, broken), *read(1, "KeyError: k")), "a test")
    assert len(gathered.warnings()) == told


def test_every_guarantee_is_judged_in_every_run() -> None:
    """One that is broken does not hide the others; what is not claimed here is not judged."""
    elsewhere = replace(FINE, id="X9", claimed=frozenset({Condition.QUIET}))
    gathered = evidence(Condition.CONCURRENT, BROKEN, FINE, elsewhere)
    for _ in range(3):
        gathered.add(a_run(), "a test")
    assert {name: (tally.schedules, tally.exercised) for name, tally in gathered.tallies.items()} == {
        "X1": (3, 3),
        "X2": (3, 3),
    }


def test_the_first_run_of_each_anomaly_is_the_candidate() -> None:
    """With who found it, and after how many runs."""
    gathered = evidence(Condition.CONCURRENT, BROKEN)
    first = a_run(*read(0))
    gathered.add(a_run(problem="no"), "somebody")
    gathered.add(first, "a strategy")
    gathered.add(a_run(), "another")
    (candidate,) = gathered.tallies["X2"].candidates.values()
    assert (candidate.run, candidate.found_by, candidate.found_after) == (first, "a strategy", 2)
    assert (candidate.slug, candidate.finding.kind) == ("stale-read", "stale-read")


def test_a_run_with_a_problem_is_not_judged() -> None:
    """Its history is not whole: a finding in it proves nothing."""
    gathered = evidence(Condition.CONCURRENT, BROKEN)
    gathered.add(a_run(problem="it hangs"), "a test")
    assert (gathered.tallies, gathered.runs, gathered.problems) == ({}, 1, ["it hangs"])


def test_the_first_words_of_a_cache_are_kept() -> None:
    """What it prints first says most about why."""
    gathered = evidence(Condition.CONCURRENT, FINE)
    for output in ("", "first\n", "second\n"):
        gathered.add(a_run(output=output), "a test")
    assert gathered.printed.strip() == "first"


def test_what_cannot_happen_here_is_the_reason() -> None:
    """Whatever else might be said of runs without the fault."""
    gathered = evidence(Condition.CACHE_CRASH, FINE)
    gathered.impossible = "nobody kills these servers"
    gathered.add(a_run(*read(0)), "a test")
    assert verdict_of(gathered.tallies[FINE.id], gathered) == (
        Verdict.NOT_EXERCISED,
        "nobody kills these servers",
    )
