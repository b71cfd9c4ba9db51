"""After quiescence the final reads return what the database holds."""

from collections.abc import Callable

import pytest

from cacheproof.models.convergence import FOREVER_S, Convergence
from cacheproof.models.errors import UsageError
from cacheproof.models.event import Entered
from cacheproof.models.history import History
from cacheproof.models.operation import Outcome
from cacheproof.models.verdict import Verdict

Draw = Callable[..., History]

CASES = 10_000


def test_it_is_the_definition(happenings: Callable[..., History]) -> None:
    """Exactly the final reads late enough are flagged that differ from the last version of their key."""
    for seed in range(CASES):
        within_s = (0.0, 1.0, 5.0)[seed % 3]
        history = happenings(seed, keys=2)
        quiet = [event.at_s for event in history.events if isinstance(event, Entered)]
        judgement = Convergence(within_s).check(history)
        if not quiet:
            assert judgement.verdict is Verdict.UNKNOWN
            continue
        reads = [op for op in history.operations if op.final and op.invoked_s >= quiet[0] + within_s]
        held = {key: commits[-1].value if commits else "v0" for key, commits in history.commits.items()}
        wrong = {op.invoked for op in reads if op.outcome is Outcome.OK and op.value != held[op.key or ""]}
        assert {finding.culprit.invoked for finding in judgement.findings if finding.culprit} == wrong
        assert (judgement.unknown is not None) == any(op.outcome is not Outcome.OK for op in reads)


def ending(read: str, at_s: int) -> str:
    return f"""
        A:     |-w1-|
        B:                   |-{read}-|
        db:       1
        quiet:         *
        s:     0       10   {at_s}
    """


def test_divergence_is_found(draw: Draw) -> None:
    """A final read of the old value, 300 s after quiescence; the writes of the right value explain it."""
    (finding,) = Convergence(300).check(draw(ending("R0", 310))).findings
    assert (finding.property, finding.kind, finding.key) == ("convergence", "divergence", "k")
    assert finding.culprit is not None and finding.culprit.value == "v0"
    assert [op.value for op in finding.because] == ["v1"]
    assert [commit.value for commit in finding.versions] == ["v1"]
    assert finding.stale_s == 310.0


@pytest.mark.parametrize(("read", "at_s", "judged"), [("R1", 310, 1), ("R0", 309, 0), ("r0", 310, 0)])
def test_near_misses_are_not_flagged(read: str, at_s: int, judged: int, draw: Draw) -> None:
    """The right value, a read before its time, and a read that belongs to no epilogue."""
    judgement = Convergence(300).check(draw(ending(read, at_s)))
    assert judgement.findings == () and judgement.judged == judged and judgement.unknown is None


def test_a_final_read_that_fails_leaves_a_doubt(draw: Draw) -> None:
    """Without an answer there is no verdict."""
    judgement = Convergence(0).check(draw("A:     |-w1-|   |-R!\ndb:       1\nquiet:        *"))
    assert judgement.verdict is Verdict.UNKNOWN and "final read of 'k'" in (judgement.unknown or "")


def test_a_key_that_nobody_touched_proves_nothing(draw: Draw) -> None:
    """Reading back the initial record is no test, unless it comes back as something else."""
    quiet = "A:        |-{}-|\nquiet: *"
    assert Convergence(0).check(draw(quiet.format("R0"))).verdict is Verdict.NOT_EXERCISED
    assert Convergence(0).check(draw(quiet.format("R7"))).verdict is Verdict.REFUTED


def test_counters_converge_like_registers(draw: Draw) -> None:
    """What the database holds is known without knowing who wrote it."""
    drawing = "A:     |-<increment>1-|     |-R{}-|\ndb:             1\nquiet:                   *"
    assert Convergence(0).check(draw(drawing.format(1))).verdict is Verdict.UPHELD
    assert Convergence(0).check(draw(drawing.format(0))).verdict is Verdict.REFUTED


def test_when_it_looks() -> None:
    """At its bound; a day later if nothing ever expires."""
    assert Convergence(300).probes_s == (300.001,)
    assert Convergence(0).probes_s == (0.0,)
    assert Convergence(None).probes_s == (FOREVER_S,)


@pytest.mark.parametrize("within_s", [-1, float("nan")])
def test_a_bound_is_not_negative(within_s: float) -> None:
    """A mistake in a contract is named where it is made."""
    with pytest.raises(UsageError, match="0 or more seconds, or None"):
        Convergence(within_s)
