"""Histories pair invocations with returns, and survive the way to JSON Lines and back."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.errors import UsageError
from cacheproof.models.event import (
    Committed,
    Entered,
    Event,
    Exchanged,
    Faulted,
    Invoked,
    Phase,
    Returned,
)
from cacheproof.models.history import History
from cacheproof.models.operation import Outcome, Value

TEXT = st.text()
VALUES: st.SearchStrategy[Value] = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
)
PROCESSES = st.integers(0, 3)
REPLIES = st.recursive(VALUES, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=4)
TIMES = st.floats(0, 1e6)
STAMP = (st.just(0), TIMES)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(Invoked, *STAMP, PROCESSES, TEXT, st.none() | TEXT, VALUES, st.booleans()),
    st.builds(
        Exchanged,
        *STAMP,
        PROCESSES,
        st.sampled_from(ServerName),
        TEXT,
        st.tuples(TEXT, TEXT),
        st.tuples(TEXT),
        REPLIES,
        st.sampled_from(Fate),
        st.booleans(),
        st.booleans(),
    ),
    st.builds(
        Faulted,
        *STAMP,
        TEXT,
        st.none() | PROCESSES,
        st.none() | st.sampled_from(ServerName),
        st.none() | TEXT | TIMES,
        st.tuples(PROCESSES),
    ),
    st.builds(Committed, *STAMP, TEXT, VALUES, st.integers(0), st.none() | PROCESSES),
    st.builds(Entered, *STAMP, st.sampled_from(Phase)),
)


def indexed(events: list[Event]) -> tuple[Event, ...]:
    """The events with their positions as indices, each invocation followed by its return."""
    found: list[Event] = []
    for event in events:
        values = {name: getattr(event, name) for name in event.__dataclass_fields__}
        found.append(type(event)(**{**values, "index": len(found)}))
        if isinstance(event, Invoked):
            outcome = list(Outcome)[len(found) % 3]
            found.append(Returned(len(found), event.at_s, event.process, outcome, event.value, event.key))
    return tuple(found)


@settings(max_examples=150, deadline=None)
@given(events=st.lists(EVENTS, max_size=5), initial=st.dictionaries(TEXT, VALUES, max_size=2))
def test_json_lines_and_back(events: list[Event], initial: dict[str, Value]) -> None:
    """Nothing is lost, line separators inside strings included; the same history has the same text."""
    history = History(initial, indexed(events), processes=4, workers=(3,))
    text = history.to_jsonl()
    assert History.from_jsonl(text) == history
    assert History.from_jsonl(text).to_jsonl() == text
    assert History.from_jsonl(text.removesuffix("\n")) == history
    assert all(isinstance(json.loads(line), dict) for line in text.split("\n")[:-1])


def test_a_line_separator_in_a_value_does_not_end_the_line() -> None:
    """U+2028 is a line break for Python, and none for JSON."""
    history = History({"k": "a\u2028b\x85c"}, (Invoked(0, 0.0, 0, "write", "k", "\u2029"),), 1)
    assert History.from_jsonl(history.to_jsonl()) == history


def test_it_is_read_from_a_text_or_from_lines() -> None:
    """A text of lines, or the lines as they come out of a file, with their line feeds or without."""
    history = History({"k": "v1"}, (Invoked(0, 0.0, 0, "read", "k", None),), 1)
    text = history.to_jsonl()
    assert History.from_jsonl(line + "\n" for line in text.splitlines()) == history
    assert History.from_jsonl(text.splitlines()) == history


@pytest.mark.parametrize("text", ["", "\n", "nonsense", '{"type":"run","format":1}'])
def test_anything_else_is_refused_with_its_place(text: str) -> None:
    """Whatever is wrong with a file is a UsageError that names line and column (see test_jsonl.py)."""
    with pytest.raises(UsageError, match=r"line 1, column 1: .*expect"):
        History.from_jsonl(text)


def test_operations_are_paired_by_process(draw: Callable[..., History]) -> None:
    """Intervals, values and outcomes; ambiguous operations have no return."""
    history = draw("""
        A: |---w1---|   |-d-!
        B:    |-r0-|      |-w2-?
        s: 0      1     5
    """)
    write, read, delete, unknown = history.operations
    assert (write.value, write.outcome, write.invoked_s, write.returned_s) == ("v1", Outcome.OK, 0.0, 1.0)
    assert (read.value, read.process) == ("v0", 1) and write.invoked < read.invoked
    assert (delete.f, delete.outcome, delete.value) == ("delete", Outcome.FAIL, None)
    assert (unknown.outcome, unknown.returned, unknown.returned_s) == (Outcome.INFO, None, None)
    assert [op.f for op in history.on_key("k")] == ["write", "read", "delete", "write"]
    assert history.on_key("other") == ()


def test_an_operation_that_never_returned_is_ambiguous() -> None:
    """Cut off by a crash or by the end; a new invocation of the process does not take its return."""
    events = (
        Invoked(0, 0.0, 0, "write", "k", "v2"),
        Invoked(1, 0.0, 0, "read", "k", None),
        Returned(2, 0.0, 0, Outcome.OK, "v1"),
        Returned(3, 0.0, 0, Outcome.OK, "v1"),
        Invoked(4, 0.0, 0, "read", "k", None),
    )
    first, second, third = History({"k": "v1"}, events, 1).operations
    assert first.outcome is Outcome.INFO and third.outcome is Outcome.INFO
    assert (second.outcome, second.value, second.returned) == (Outcome.OK, "v1", 2)


@pytest.mark.parametrize(("f", "value"), [("delete", None), ("write", "v2"), ("write", None)])
def test_what_a_write_returns_is_not_what_it_wrote(f: str, value: Value) -> None:
    """A delete that returns the number of rows has still written no record."""
    events = (Invoked(0, 0.0, 0, f, "k", value), Returned(1, 0.0, 0, Outcome.OK, 1))
    assert History({"k": "v1"}, events, 1).operations[0].value == value


def test_views(act: Callable[..., History]) -> None:
    """Commits by key, exchanges, faults, and where a phase began."""
    history = act("""
        A write v2
        A UPDATE v2
        A commits v2
        A crash
        B write v9 @b
        B commits v9 @b
        quiet
    """)
    assert {key: [c.value for c in found] for key, found in history.commits.items()} == {
        "k": ["v2"],
        "b": ["v9"],
    }
    assert [exchange.verb for exchange in history.exchanges] == ["UPDATE"]
    assert [fault.fault for fault in history.faults] == ["crash"]
    assert history.phase_start(Phase.QUIESCE) == 6
    assert history.phase_start(Phase.READ) is None


def test_what_was_derived_is_no_part_of_a_history() -> None:
    """It is kept as long as the history, and makes no two histories different."""
    one, other = History({"k": "v0"}, (), 1), History({"k": "v0"}, (), 1)
    one.derived["answer"] = 42
    assert one == other and other.derived == {} and one.to_jsonl() == other.to_jsonl()
    assert replace(one, processes=2).derived == {}
