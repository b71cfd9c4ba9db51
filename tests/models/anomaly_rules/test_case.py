"""The moments of a history that rules ask for are those that the drawing shows."""

from collections.abc import Callable

import pytest

from cacheproof.models.anomaly_rules.case import Case
from cacheproof.models.history import History
from cacheproof.models.verdict import Finding

Act = Callable[..., History]

STALE_SET = """
    B read
    B GET -> nil
    B SET #lock:k t NX EX
    B SELECT -> v1
    A write v2
    A UPDATE v2
    A commits v2
    A DEL
    A ok
    B SET v1
    B DEL #lock:k
    B ok v1
    C read
    C GET -> v1
    C ok v1
"""


def last(history: History, key: str | None = "k") -> Case:
    """The case of a finding about the last operation of the history."""
    return Case(Finding("custom", "stale-read", key, culprit=history.operations[-1]), history)


def test_the_moments_of_a_stale_set(act: Act) -> None:
    """Load, commit, what overtook the fill, fill and look, by their indices; who wrote; the lock is apart."""
    case = last(act(STALE_SET))
    assert case.load and case.commit and case.fill and case.writer
    assert (case.load.index, case.commit.index, case.fill.index, case.seen) == (3, 6, 9, 13)
    assert case.late_fill and [step.index for step in case.overtaken] == [7]
    assert case.writer.value == "v2" and case.read == case.history.operations[-1]
    assert [step.index for step in case.lock_steps] == [2, 10]
    assert [step.index for step in case.before_fill] == [1, 3]
    assert case.lost is None and case.end == 15


def test_without_a_read_there_are_no_moments(act: Act) -> None:
    """A finding about a write, or about nobody, has no look, no commit and no fill."""
    history = act("A write v2\nA SET v2\nA ok")
    case = last(history)
    assert (case.read, case.commit, case.writer, case.load) == (None, None, None, None)
    assert (case.seen, case.late_fill, case.overtaken) == (3, False, ())
    assert case.lost == history.operations[0]
    assert Case(Finding("custom", "custom", None), history).steps == ()


def test_a_read_without_a_look_has_seen_when_it_returned(act: Act) -> None:
    """A local tier served it; a read that never returned has seen until the end."""
    assert last(act("A read\nA ok v1\nadvance 1")).seen == 1
    assert last(act("A read\nadvance 1")).seen == 2


def test_marks_are_more_than_an_absence(act: Act) -> None:
    """Scripts, and deletes with a set in one transaction; a set alone is the next value, a delete leaves nothing."""
    script = STALE_SET.replace("A DEL", "A DEL\nA EVAL bury\nA SET+DEL\nA SET v2")
    assert [step.index for step in last(act(script)).marks] == [8, 9]


def test_the_outages_that_a_writer_met(act: Act) -> None:
    """At its commit or at its end, of the cache, and for this client."""
    update, end = "A write v2\nA UPDATE v2\nA commits v2\n", "A ok\nC read\nC GET -> v1\nC ok v1"
    met = last(act("partition cache A\n" + update + "heal cache\nfreeze cache\n" + end)).cut_off
    assert [(at, outage.fault.fault) for at, outage in met] == [(3, "partition"), (6, "freeze")]
    for unmet in ("partition cache B", "partition database A", "partition cache A\nheal cache A"):
        assert last(act(unmet + "\n" + update + end)).cut_off == ()
    assert last(act("partition cache A\nA write v2\n" + end)).cut_off == ()


def test_the_writer_is_who_committed_where_several_wrote_the_value(act: Act) -> None:
    """Two writes of v2: the one during which it was committed; nobody if that is not known."""
    script = "A write v2\nB write v2\nB UPDATE v2\n{who} commits v2\nB ok\nA ok\nC read\nC GET -> v1\nC ok v1"
    case = last(act(script.format(who="B")))
    assert case.writer and case.writer.process == 1
    assert last(act(script.format(who="?"))).writer is None


def test_a_fill_by_a_writer_was_not_loaded(act: Act) -> None:
    """A write-through knows its value."""
    case = last(act("A write v2\nA SELECT -> v1\nA SET v2\nA ok\nC read\nC GET -> v2\nC ok v2"))
    assert case.fill and case.fill.index == 2 and case.load is None


def test_a_write_is_lost_only_if_it_was_acknowledged(act: Act) -> None:
    """Not one that failed, and not one that is committed."""
    read = "\nC read\nC GET -> v2\nC ok v2"
    assert last(act("A write v2\nA SET v2\nA info" + read)).lost is None
    assert last(act("A write v2\nA UPDATE v2\nA commits v2\nA ok" + read)).lost is None
    assert last(act("A write v2\nA SET v2\nA ok" + read)).lost is not None


@pytest.mark.parametrize(("process", "after", "crash"), [(0, 0, 1), (0, 1, 3), (0, 3, None), (1, 0, None)])
def test_the_next_crash_of_a_client(process: int, after: int, crash: int | None, act: Act) -> None:
    """Of this one, and after the event; a restart is none."""
    history = act("A read\nA crash\nB restart\nA crash\nkill cache")
    assert last(history).crash_of(process, after) == crash
