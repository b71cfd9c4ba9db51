"""Reads return only what was written to their key."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproof.models.history import History
from cacheproof.models.integrity import Integrity
from cacheproof.models.operation import Outcome
from cacheproof.models.verdict import Verdict

Draw = Callable[..., History]
KEYS = {"a": "v8", "b": "v9"}


@settings(max_examples=1_500, deadline=None)
@given(seed=st.integers(0, 2**32), committed=st.booleans())
def test_it_is_the_definition(seed: int, committed: bool, happenings: Callable[..., History]) -> None:
    """A read is right if its value is initial, or written in time by what did not fail, and committed if asked."""
    history = happenings(seed, keys=2)
    wrong = set()
    for read in history.operations:
        if read.f != "read" or read.outcome is not Outcome.OK or read.value == "v0":
            continue
        assert read.returned is not None
        allowed = any(
            op.invoked < read.returned and op.outcome is not Outcome.FAIL
            for op in history.on_key(read.key or "")
            if (op.f == "write" and op.value == read.value) or (op.f == "delete" and read.value is None)
        )
        versions = [c.value for c in history.commits[read.key or ""] if c.index < read.returned]
        if not allowed or (committed and read.value not in versions):
            wrong.add(read.invoked)
    judgement = Integrity(committed=committed).check(history)
    assert {finding.culprit.invoked for finding in judgement.findings if finding.culprit} == wrong
    assert judgement.unknown is None


WRONG = {
    "nobody wrote it": ("A: |-w1@a-|  |-r7@a-|", "fabricated", []),
    "no record, though nobody deleted it": ("A: |-w1@a-|  |-r@a-|", "fabricated", []),
    "another key's initial record": ("A: |-r9@a-|", "foreign", []),
    "another key's write": ("A: |-w1@b-|  |-r1@a-|", "foreign", []),
    "its write failed": ("A: |-w1@a-!  |-r1@a-|", "aborted", ["v1"]),
    "its write failed later": ("A:     |--w1@a--!\nB: |-r1@a-|", "aborted", ["v1"]),
    "its write came later": ("A: |-r1@a-|  |-w1@a-|", "premature", ["v1"]),
    "a failing write came later": ("A: |-r1@a-|  |-w1@a-!", "premature", ["v1"]),
}


@pytest.mark.parametrize("title", WRONG)
@pytest.mark.parametrize("committed", [False, True])
def test_a_wrong_value_is_found(title: str, committed: bool, draw: Draw) -> None:
    """Each kind of wrong value is named, with the writes that explain it."""
    drawing, kind, because = WRONG[title]
    (finding,) = Integrity(committed=committed).check(draw(drawing, KEYS)).findings
    assert (finding.property, finding.kind, finding.key) == ("integrity", kind, "a")
    assert [op.value for op in finding.because] == because


@pytest.mark.parametrize(
    "drawing",
    [
        "A: |-r8@a-|  |-w1@a-|  |-r1@a-|",
        "A: |-w1@a-?  |-r1@a-|",
        "A: |--w1@a--|\nB:         |-r1@a-|",
        "A: |-d@a-|  |-r@a-|",
        "A: |-r7@a?  |-r7@a!",
    ],
)
def test_near_misses_are_not_flagged(drawing: str, draw: Draw) -> None:
    """The initial record, concurrent and ambiguous writes, deletions, reads without an answer."""
    assert Integrity().check(draw(drawing, KEYS)).findings == ()


def test_uncommitted_values_are_found_if_asked(draw: Draw) -> None:
    """A value served before its commit is dirty where the database is written first, and not elsewhere."""
    early = draw("A:  |------w1------|\nB:    |-r1-|\ndb:             1")
    assert Integrity().check(early).verdict is Verdict.UPHELD
    (finding,) = Integrity(committed=True).check(early).findings
    assert finding.kind == "uncommitted" and [op.value for op in finding.because] == ["v1"]
    never = draw("A:  |--w1--?\nB:             |-r1-|")
    assert [f.kind for f in Integrity(committed=True).check(never).findings] == ["uncommitted"]


@pytest.mark.parametrize(
    "drawing",
    [
        "A:  |------w1------|\nB:         |-r1-|\ndb:      1",
        "A:  |------w1------?\nB:         |--r1--|\ndb:           1",
        "A:  |-w1-| |-w2-|\nB:                  |-r1-|\ndb:    1      2",
        "A:  |-r0-|",
    ],
)
def test_committed_values_are_right(drawing: str, draw: Draw) -> None:
    """Committed before or during the read, by an ambiguous write, or long ago: integrity is not freshness."""
    assert Integrity(committed=True).check(draw(drawing)).verdict is Verdict.UPHELD


def test_other_methods_leave_a_doubt(draw: Draw) -> None:
    """With an increment on the key any number may be right."""
    assert "increment" in (Integrity().check(draw("A: |-<increment>1-|  |-r0-|")).unknown or "")


def test_it_asks_for_a_read_at_once() -> None:
    """The property needs no time to pass."""
    assert Integrity().probes_s == (0.0,)
