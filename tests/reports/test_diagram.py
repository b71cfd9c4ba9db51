"""The diagram: aligned lanes, no line too wide, whatever the history holds."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.event import Committed, Entered, Event, Exchanged, Faulted, Invoked, Phase, Returned
from cacheproof.models.history import History
from cacheproof.models.operation import Outcome
from cacheproof.models.report import Snapshot
from cacheproof.models.verdict import Finding
from cacheproof.reports.diagram import Line, draw

STORIES = [
    "stale_set",
    "crash_before_invalidation",
    "lost_write",
    "lost_invalidation",
    "lost_reply",
    "two_keys",
    "three_clients",
    "hostile_values",
    "wide_values",
    "long_story",
]


def text(lines: Sequence[Line]) -> list[str]:
    return ["".join(span.text for span in line) for line in lines]


@pytest.mark.parametrize("width", [30, 60, 80, 100, 120])
@pytest.mark.parametrize("name", STORIES)
def test_no_line_is_wider_than_the_width(stories: ModuleType, name: str, width: int) -> None:
    """Every line of every story fits, and no step is missing that is not elided."""
    lines = text(draw(getattr(stories, name)(), width))
    assert max(map(cell_len, lines)) <= width
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize("name", STORIES)
def test_labels_stand_in_the_lane_of_their_server(stories: ModuleType, name: str) -> None:
    """What comes behind an arrow begins in the column of the cache or of the database."""
    title, *lines = text(draw(getattr(stories, name)(), 120))
    lanes = {cell_len(title[: title.index(server)]) for server in ("cache", "database")}
    for line in lines:
        for arrow in ("─► ", "── "):
            if arrow in line:
                assert cell_len(line[: line.index(arrow) + len(arrow)]) in lanes, line


def test_an_open_operation_is_drawn_through(stories: ModuleType) -> None:
    """B's lane shows "┆" in the steps in which A acts without an arrow across it."""
    lines = text(draw(stories.stale_set(), 100))
    column = lines[0].index("client B")
    assert [line[column] for line in lines if line.strip().startswith(("4 ", "7 "))] == ["┆", "┆"]


def test_narrow_lanes_show_the_short_form(stories: ModuleType) -> None:
    """At 80 columns three clients still fit, and every written value is legible."""
    lines = text(draw(stories.three_clients(), 80))
    assert "client C" in lines[0]
    assert any("UPDATE := v2" in line for line in lines) and any("SET v3" in line for line in lines)


def test_too_many_lanes_become_a_list(stories: ModuleType) -> None:
    """Where lanes would be too narrow, each line names its client and server instead."""
    lines = text(draw(stories.stale_set(), 50))
    assert any(line.strip().startswith("5 A") and "► database v2" in line for line in lines)


def test_only_clients_that_act_have_a_lane(stories: ModuleType) -> None:
    """Eight clients of which two act need two lanes."""
    found = stories.told(
        "    A: write user:1 v2\n    A: ok\n    H: read user:1\n    H: ok v1\n",
        stories.ReadAfterWrite(),
        "stale-read",
        clients=8,
    )
    assert text(draw(found, 100))[0].split() == ["client", "A", "client", "H", "cache", "database"]


def test_sixteen_events_of_three_clients_fit_in_a_screen(stories: ModuleType) -> None:
    """The larger story has its sixteen steps in order, in at most twenty lines."""
    lines = text(draw(stories.three_clients(), 120))
    numbers = [int(line[:4]) for line in lines if line[:4].strip().isdigit()]
    assert numbers == list(range(1, 17)) and len(lines) <= 20


def test_hostile_values_stay_text(stories: ModuleType) -> None:
    """Markup characters are shown as they are, control characters as escapes."""
    drawn = "\n".join(text(draw(stories.hostile_values(), 120)))
    assert "[red]v1[/red]" in drawn and "\\x1b[31m" in drawn and "\x1b" not in drawn


KEYS = st.sampled_from(["user:1", "user:2", "[red]", "漢"])
VALUES = st.none() | st.sampled_from(["v1", "v2"]) | st.text(max_size=40) | st.integers()
PROCESSES = st.integers(0, 5)
SERVERS = st.sampled_from(ServerName)
REPLIES = VALUES | st.lists(VALUES, max_size=3) | st.fixed_dictionaries({"tag": st.text(max_size=9)})
VERBS = st.sampled_from(["GET", "SET", "DEL", "BRPOP", "SELECT", "UPDATE", "SET; XADD", "EVAL"])
WORDS = st.lists(st.text(max_size=30) | KEYS, max_size=5).map(tuple)
EVENTS = st.one_of(
    st.builds(Invoked, st.just(0), st.floats(0, 9), PROCESSES, st.text(max_size=9), KEYS, VALUES, st.booleans()),
    st.builds(
        Returned, st.just(0), st.floats(0, 9), PROCESSES, st.sampled_from(Outcome), VALUES, st.none() | st.text()
    ),
    st.builds(
        Exchanged, st.just(0), st.floats(0, 9), PROCESSES, SERVERS, VERBS, WORDS, st.lists(KEYS).map(tuple),
        REPLIES, st.sampled_from(Fate), st.booleans(), st.booleans(),
    ),
    st.builds(
        Faulted, st.just(0), st.floats(0, 9), st.sampled_from(["crash", "kill", "expire", "advance", "heal", "?"]),
        st.none() | PROCESSES, st.none() | SERVERS, st.none() | st.floats() | st.text(max_size=9),
    ),
    st.builds(Committed, st.just(0), st.floats(0, 9), KEYS, VALUES, st.integers(0, 9), st.none() | PROCESSES),
    st.builds(Entered, st.just(0), st.floats(0, 9), st.sampled_from(Phase)),
)  # fmt: skip
CACHES = st.dictionaries(KEYS, st.tuples(st.text(max_size=20), st.none() | st.floats(0, 900)), max_size=3)


@st.composite
def counterexamples(draw_: st.DrawFn, story: Any) -> Any:
    """Any events in any order, snapshots after some of them, and a finding about one of the operations."""
    events: list[Event] = []
    for position, event in enumerate(draw_(st.lists(EVENTS, max_size=25))):
        fields = {name: getattr(event, name) for name in event.__slots__}
        events.append(type(event)(**{**fields, "index": position}))
    history = History({"user:1": "v1"}, tuple(events), 6, (4, 5))
    indices = draw_(st.sets(st.integers(-1, max(len(events) - 1, 0))))
    snapshots = tuple(Snapshot(index, draw_(CACHES), {"user:1": "v1"}) for index in sorted(indices))
    operations = history.operations
    culprit = draw_(st.none() | st.sampled_from(operations)) if operations else None
    kind = draw_(st.sampled_from(["stale-read", "divergence", "lost-write", "else"]))
    return story.counterexample(history, snapshots, Finding("p", kind, draw_(KEYS), culprit))


@settings(max_examples=150, deadline=None)
@given(data=st.data(), width=st.integers(20, 130))
def test_any_history_is_drawn_within_the_width(stories: ModuleType, data: st.DataObject, width: int) -> None:
    """Whatever happened, in whatever order: no exception, no line break, and no line too wide."""
    found = data.draw(counterexamples(stories.story))
    for line in text(draw(found, width)):
        assert cell_len(line) <= width and line.isprintable()
