"""Reads return only what was written to their key."""

import random
from collections.abc import Callable
from itertools import permutations

import pytest

from cacheproof.models.event import Committed, Event, Invoked, Returned
from cacheproof.models.history import History
from cacheproof.models.integrity import Integrity
from cacheproof.models.operation import Operation, Outcome
from cacheproof.models.verdict import Verdict

Draw = Callable[..., History]

CASES = 10_000
KEYS = {"a": "v8", "b": "v9"}


def test_what_a_write_of_several_keys_wrote_belongs_to_each_of_them() -> None:
    """It is not made up, and what belongs to one of the keys does not belong to another."""
    pairs = (("a", "v1"), ("b", "v2"))
    events = [Invoked(0, 0.0, 0, "write_many", None, pairs), Returned(1, 0.0, 0, Outcome.OK, pairs)]
    for value in ("v1", "v2"):
        events.append(Invoked(len(events), 0.0, 0, "read", "a", None))
        events.append(Returned(len(events), 0.0, 0, Outcome.OK, value))
    (finding,) = Integrity().check(History(KEYS, tuple(events), 1)).findings
    assert finding.kind == "foreign" and finding.culprit is not None and finding.culprit.value == "v2"


def test_it_is_the_definition(happenings: Callable[..., History]) -> None:
    """A read is right if its value is initial, or written in time by what did not fail, and committed if asked."""
    for seed in range(CASES):
        committed = seed % 2 == 1
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


def by_real_time(history: History, read: Operation) -> bool:
    """Whether no order in real time explains the read: its value would have to be written after every delete."""
    writes = [
        op
        for op in history.operations
        if op.f == "write" and op.value == read.value and not read.precedes(op)
    ]
    deletes = [
        op for op in history.operations if op.f == "delete" and op.outcome is Outcome.OK and op.precedes(read)
    ]
    for order in permutations([*writes, *deletes]):
        real = not any(two.precedes(one) for n, one in enumerate(order) for two in order[n + 1 :])
        if real and (order[-1].f == "write" if order else read.value == history.initial["k"]):
            return False
    return bool(deletes)


def by_commits(history: History, read: Operation) -> bool:
    """Whether the database had deleted the value, and everybody who might write or delete it had gone."""
    assert read.returned is not None
    begun = [
        op
        for op in history.operations
        if op.invoked < read.returned and (op.f == "delete" or (op.f == "write" and op.value == read.value))
    ]
    if any(op.returned is None or op.returned > read.invoked for op in begun):
        return False
    known, gone, count = read.value == history.initial["k"], False, 0
    for commit in history.commits["k"]:
        if commit.value == read.value and commit.index < read.returned:
            known, gone, count = True, False, count + 1
        elif commit.value is None and commit.index < read.invoked:
            gone = known
    written = sum(op.f == "write" for op in begun)
    return gone and count >= written and any(op.f == "delete" and op.outcome is Outcome.OK for op in begun)


def contest(chance: random.Random) -> History:
    """A write and a delete that overlap, with a third of either, while the database commits; then a read."""
    calls = [
        (0, "write", "v1"),
        (1, "delete", None),
        (2, *chance.choice((("write", "v1"), ("delete", None)))),
    ]
    events: list[Event] = []
    versions = 0
    steps = [0, 0, 1, 1, *((2, 2) if chance.random() < 0.3 else ()), 3, 3, *chance.choices((4, 5), k=3)]
    chance.shuffle(steps)
    for step in (*steps, 0, 0):
        stamp = (len(events), 0.0)
        again = sum(isinstance(event, Invoked) and event.process == step for event in events)
        ended = sum(isinstance(event, Returned) and event.process == step for event in events)
        if step in (4, 5):
            versions += 1
            events.append(Committed(*stamp, "k", "v1" if step == 4 else None, versions))
        elif again > ended:
            outcome = chance.choice((Outcome.OK,) * 8 + (Outcome.INFO, Outcome.FAIL))
            events.append(Returned(*stamp, step, outcome, "v1"))
        elif step == 3 or again:
            events.append(Invoked(*stamp, step, "read", "k", None))
        else:
            events.append(Invoked(*stamp, step, calls[step][1], "k", calls[step][2]))
    return History({"k": chance.choice(("v0", "v0", "v1"))}, tuple(events), 4)


def test_resurrection_is_the_definition(happenings: Callable[..., History]) -> None:
    """No order in real time, or the order of commits, lets the read see what it saw.  Searched exhaustively.

    It adds findings, and takes none away.
    """
    in_time = committed = fine = 0
    chance = random.Random(8)
    for seed in range(14_000):
        history = happenings(seed) if seed % 2 else contest(chance)
        before = Integrity().check(history).findings
        after = Integrity(resurrected=True).check(history).findings
        assert tuple(finding for finding in after if finding.kind != "resurrected") == before
        wrong = {finding.culprit.invoked for finding in before if finding.culprit}
        expected = set()
        for read in history.operations:
            judged = read.f == "read" and read.outcome is Outcome.OK and read.invoked not in wrong
            if not judged or read.value is None:
                continue
            one, other = by_real_time(history, read), by_commits(history, read)
            in_time += one
            committed += other and not one
            fine += not (one or other)
            expected |= {read.invoked} if one or other else set()
        found = {finding.culprit.invoked for finding in after if finding.culprit} - wrong
        assert found == expected, history.to_jsonl()
    assert in_time > 400 and committed > 100 and fine > 1_000


RESURRECTED = {
    "the initial record": ("A: |-d-|  |-r0-|", 0, []),
    "written before the delete": ("A: |-w1-|  |-d-|  |-r1-|\ndb:   1       x", 1, ["v1", None]),
    "written twice before the delete": ("A: |-w1-|  |-d-| |-r1-|\nB: |-w1-|", 2, []),
    "filled after the delete": ("A:    |-d-|\nB: |-r0-|  |-r0-|\ndb:     x", 1, [None]),
    "deleted twice": ("A: |-w1-|  |-d-| |-d-|  |-r1-|", 2, []),
    "concurrent, but the database deleted last": (
        "A: |---w1---|\nB:   |--d--|    |-r1-|\ndb:    1  x",
        1,
        ["v1", None],
    ),
}


@pytest.mark.parametrize("title", RESURRECTED)
def test_a_resurrected_value_is_found_if_asked(title: str, draw: Draw) -> None:
    """With the last delete before the read, and the deletion if there was one; not by default."""
    drawing, delete, versions = RESURRECTED[title]
    history = draw(drawing)
    (finding,) = Integrity(resurrected=True).check(history).findings
    assert (finding.property, finding.kind, finding.key) == ("integrity", "resurrected", "k")
    assert finding.because == (history.operations[delete],)
    assert [version.value for version in finding.versions] == versions
    assert Integrity().check(history).findings == ()


@pytest.mark.parametrize(
    "drawing",
    [
        "A: |-d-|  |-w1-|  |-r1-|\ndb:  x     1",
        "A: |-d-|  |-w0-|  |-r0-|",
        "A: |-w1-?  |-d-|  |-r1-|",
        "A: |-w1-|  |-d-?  |-r1-|",
        "A: |-w1-|  |-d-!  |-r1-|",
        "A: |-w1-|  |-d-|\nB:            |-r1-|",
        "A: |---w1---|\nB:   |--d--|    |-r1-|",
        "A: |---w1---|\nB:   |--d--|    |-r1-|\ndb:    x  1",
        "A: |---w1---|\nB:   |--d--|    |-r1-|\ndb:    1  2",
        "A: |---w1---|\nB:   |--d--|    |-r1-|\ndb:       x",
        "A: |---w1---|\nB:   |--d--|    |-r1-|\nC:   |--d--?\ndb:    1  x",
        "A: |---w1---|\nB:   |--d--|    |-r1-|\nC:   |--w1----|\ndb:    1  x",
        "A: |---w1---|\nB:   |--d--|    |-r1-|\ndb:    1          x",
        "A: |---w1---|\nB:   |--d--|    |---r1---|\ndb:    1  x       1",
        "A: |-w1-|  |-d-|  |-r-|",
    ],
)
def test_what_may_have_been_written_again_is_not_resurrected(drawing: str, draw: Draw) -> None:
    """A later, concurrent or ambiguous write; a delete that failed, is in doubt or overlaps; no record at all."""
    assert Integrity(resurrected=True).check(draw(drawing)).findings == ()


def test_what_was_never_committed_is_named_so_first(draw: Draw) -> None:
    """The first kind that fits."""
    history = draw("A: |-w1-|  |-d-|  |-r1-|")
    both = Integrity(committed=True, resurrected=True).check(history)
    assert [finding.kind for finding in both.findings] == ["uncommitted"]


def test_other_methods_leave_a_doubt(draw: Draw) -> None:
    """With an increment on the key any number may be right."""
    assert "increment" in (Integrity().check(draw("A: |-<increment>1-|  |-r0-|")).unknown or "")


def test_it_asks_for_a_read_at_once() -> None:
    """The property needs no time to pass."""
    assert Integrity().probes_s == (0.0,)
