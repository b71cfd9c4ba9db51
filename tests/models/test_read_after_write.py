"""Reads that begin after an acknowledged write see it, or something newer."""

import random
import time
from collections.abc import Callable

import pytest

from cacheproof.models.event import Committed, Event, Invoked, Returned
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.read_after_write import ReadAfterWrite

Draw = Callable[..., History]

CASES = 10_000
CROWDS = 4_000


def value_of(operation: Operation) -> Value:
    return None if operation.f == "delete" else operation.value


def older_by_time(history: History, read: Operation, write: Operation) -> bool:
    """No write that may have produced what was read could still have been under way when `write` began."""
    writes = [op for op in history.operations if op.f != "read" and op.outcome is not Outcome.FAIL]
    sources = [op for op in writes if value_of(op) == read.value]
    return all(op.returned is not None and op.returned < write.invoked for op in sources)


def older_by_commit(history: History, read: Operation, write: Operation) -> bool:
    """Concurrent writes of unique values: the database had overwritten the one by the other before the read."""
    writes = [op for op in history.operations if op.f != "read" and op.outcome is not Outcome.FAIL]
    sources = [op for op in writes if value_of(op) == read.value]
    rivals = [op for op in writes if value_of(op) == value_of(write)]
    commits = history.commits["k"]
    last = [commit.index for commit in commits if commit.value == read.value]
    over = [
        commit.index for commit in commits if commit.value == value_of(write) and commit.index < read.invoked
    ]
    if len(sources) != 1 or len(rivals) != 1 or "v0" in (read.value, value_of(write)) or not last or not over:
        return False
    return last[-1] < over[-1] and not write.precedes(sources[0])


def judge_by_definition(history: History) -> tuple[set[int], int]:
    """(the reads that are stale, how many reads were judged), pair by pair."""
    reads = [op for op in history.operations if op.f == "read" and op.outcome is Outcome.OK]
    written = {value_of(op) for op in history.operations if op.f != "read" and op.outcome is not Outcome.FAIL}
    stale, judged = set(), 0
    for read in reads:
        acked = [op for op in history.operations if op.f != "read" and op.outcome is Outcome.OK]
        acked = [op for op in acked if op.returned is not None and op.returned < read.invoked]
        if acked and read.value in written | {"v0"}:
            judged += 1
            if any(older_by_time(history, read, w) or older_by_commit(history, read, w) for w in acked):
                stale.add(read.invoked)
    return stale, judged


def test_it_is_the_definition(happenings: Callable[..., History]) -> None:
    """Exactly the reads are flagged for which some acknowledged write is newer, checked pair by pair."""
    for seed in range(CASES):
        history = happenings(seed)
        stale, judged = judge_by_definition(history)
        judgement = ReadAfterWrite().check(history)
        assert {finding.culprit.invoked for finding in judgement.findings if finding.culprit} == stale
        assert judgement.judged == judged and judgement.unknown is None
        for finding in judgement.findings:
            (write,) = finding.because
            assert finding.culprit is not None and write.precedes(finding.culprit)


def crowd(chance: random.Random) -> History:
    """Up to six writes, most of them at once, committed in any order, and reads of any value all along."""
    writers = chance.randint(2, 6)
    steps = [writer for writer in range(writers) for _ in range(3)] + [writers] * chance.randint(1, 6)
    chance.shuffle(steps)
    events: list[Event] = []
    ahead = {
        writer: ["invoked", *chance.choice((("commits", "returns"), ("returns", "commits")))]
        for writer in steps
    }
    version = 0
    for process in steps:
        stamp, value = (len(events), 0.0), f"v{process + 1}"
        step = "reads" if process == writers else ahead[process].pop(0)
        if step == "invoked":
            events.append(Invoked(*stamp, process, "write", "k", value))
        elif step == "commits":
            version += 1
            events.append(Committed(*stamp, "k", value, version, process))
        elif step == "returns":
            events.append(
                Returned(*stamp, process, chance.choice((Outcome.OK, Outcome.OK, Outcome.INFO)), None)
            )
        else:
            events.append(Invoked(*stamp, process, "read", "k", None))
            seen = f"v{chance.randint(1, writers)}"
            events.append(Returned(len(events), 0.0, process, Outcome.OK, seen))
    return History({"k": "v0"}, tuple(events), writers + 1)


def test_the_newest_of_a_crowd_is_found() -> None:
    """Also where many writes were concurrent: the evidence is the last that the database had committed by then."""
    chance = random.Random(7)
    flagged = kept = 0
    for _ in range(CROWDS):
        history = crowd(chance)
        stale, judged = judge_by_definition(history)
        judgement = ReadAfterWrite().check(history)
        for finding in judgement.findings:
            (write,), read = finding.because, finding.culprit
            assert read is not None
            if older_by_time(history, read, write):
                continue
            acked = [w for w in history.operations if w.f == "write" and w.precedes(read)]
            newer = [w.value for w in acked if older_by_commit(history, read, w)]
            order = [commit.value for commit in history.commits["k"]]
            assert write.value == max(newer, key=order.index)
        found = {finding.culprit.invoked for finding in judgement.findings if finding.culprit}
        assert (found, judgement.judged) == (stale, judged)
        flagged, kept = flagged + bool(stale), kept + (not stale)
    assert min(flagged, kept) > CROWDS // 5


def test_a_long_history_takes_moments() -> None:
    """Ten thousand operations that are in order, and one that is not: seconds would be a sign of squares."""
    events: list[Event] = []
    for number in range(5_000):
        value = f"v{number + 1}"
        at = len(events)
        events += [
            Invoked(at, 0.0, number % 2, "write", "k", value),
            Committed(at + 1, 0.0, "k", value, number + 1, number % 2),
            Returned(at + 2, 0.0, number % 2, Outcome.OK, None),
            Invoked(at + 3, 0.0, 2, "read", "k", None),
            Returned(at + 4, 0.0, 2, Outcome.OK, value if number < 4_999 else "v1"),
        ]
    began = time.process_time()
    (finding,) = ReadAfterWrite().check(History({"k": "v0"}, tuple(events), 3)).findings
    assert finding.culprit is not None and finding.culprit.value == "v1"
    assert time.process_time() - began < 5


STALE = {
    "the initial record": ("A: |-w1-|  |-r0-|", "v1"),
    "an overwritten value": ("A: |-w1-| |-w2-| |-r1-|", "v2"),
    "the newest acknowledged write is named": ("A: |-w1-| |-w2-| |-w3-| |-r1-|", "v3"),
    "a record that was deleted": ("A: |-w1-| |-d-| |-r1-|", None),
    "a deletion that was undone": ("A: |-d-| |-w1-| |-r-|", "v1"),
    "a concurrent write that the database had overwritten": (
        """
        A:  |--w1--|
        B:  |----w2----|
        C:                |-r1-|
        db:     1   2
        """,
        "v2",
    ),
    "an ambiguous write that the database had overwritten": (
        """
        A:  |--w1--?
        B:  |----w2----|
        C:                |-r1-|
        db:     1   2
        """,
        "v2",
    ),
}


@pytest.mark.parametrize("title", STALE)
def test_a_stale_read_is_found(title: str, draw: Draw) -> None:
    """The read is the culprit, the newest acknowledged write the reason."""
    drawing, newer = STALE[title]
    (finding,) = ReadAfterWrite().check(draw(drawing)).findings
    assert (finding.property, finding.kind) == ("read-after-write", "stale-read")
    assert finding.culprit is not None and finding.culprit.f == "read"
    assert [value_of(op) for op in finding.because] == [newer]


NEAR_MISSES = {
    "the value itself": ("A: |-w1-|  |-r1-|", 1),
    "the write had not returned": (
        """
        A: |---w1---|
        B:       |-r0-|
        """,
        0,
    ),
    "concurrent writes, the database has not decided": (
        """
        A: |--w1--|
        B: |----w2----|
        C:               |-r1-| |-r2-| |-r1-|
        """,
        3,
    ),
    "the database decided after the read began": (
        """
        A:  |--w1--|
        B:  |----w2----|
        C:                |-r1-|
        db:     1           2
        """,
        1,
    ),
    "the database flushes in the wrong order, the cache is right": (
        """
        A:  |-w1-| |-w2-|
        B:                     |-r2-|
        db:              2  1
        """,
        1,
    ),
    "the older value was committed again": (
        """
        A:  |--w1--|
        B:  |----w2----|
        C:                  |-r1-|
        db:     1   2  1
        """,
        1,
    ),
    "an ambiguous write may come late": ("A: |-w1-?  |-w2-|  |-r1-|", 1),
    "an ambiguous or failed write was not acknowledged": ("A: |-w1-?  |-w2-!  |-r0-|", 0),
    "a value that was written twice": (
        """
        A: |-d-|  |-w1-|
        B:          |---d---|
        C:                     |-r-|
        """,
        1,
    ),
    "a value that nobody wrote is for integrity": ("A: |-w1-| |-w3-!  |-r2-| |-r3-|", 0),
    "ambiguous and failed reads": ("A: |-w1-|  |-r?  |-r!", 0),
}


@pytest.mark.parametrize("title", NEAR_MISSES)
def test_near_misses_are_not_flagged(title: str, draw: Draw) -> None:
    """What is not certainly older is not stale; what cannot be judged is not counted."""
    drawing, judged = NEAR_MISSES[title]
    judgement = ReadAfterWrite().check(draw(drawing))
    assert judgement.findings == () and judgement.judged == judged and judgement.unknown is None


def test_versions_and_staleness_are_told_if_known(draw: Draw) -> None:
    """Both versions, oldest first, and the virtual seconds since the older one was superseded."""
    history = draw("""
        A:  |-w1-| |-w2-|
        B:                  |-r1-|
        db:    1      2
        s:  0         3     10
    """)
    (finding,) = ReadAfterWrite().check(history).findings
    assert [commit.version for commit in finding.versions] == [1, 2]
    assert finding.stale_s == 7.0
    (finding,) = ReadAfterWrite().check(draw("A: |-w1-|  |-r0-|")).findings
    assert finding.versions == () and finding.stale_s is None


def test_other_methods_leave_a_doubt(draw: Draw) -> None:
    """With an increment on the key nothing certain can be said."""
    assert "increment" in (ReadAfterWrite().check(draw("A: |-<increment>1-|  |-r0-|")).unknown or "")


def test_it_asks_for_a_read_at_once() -> None:
    """The property needs no time to pass."""
    assert ReadAfterWrite().probes_s == (0.0,)
