"""A scene holds what orders operations: sessions, sources, and what had to be left out."""

from collections.abc import Callable

import pytest

from cacheproof.models.event import Event, Faulted, Invoked, Returned
from cacheproof.models.happens_before import observe, session_of
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome

Draw = Callable[..., History]


def short(operation: Operation) -> str:
    return f"{operation.f[0]}{str(operation.value or '')[1:]}"


def test_a_crash_and_a_restart_begin_another_session() -> None:
    """Sessions are lives of clients; the faults of others, and of servers, end none."""
    events: list[Event] = []
    for happening in ("read", "crash", "restart", "read", "expire", "read"):
        if happening == "read":
            events.append(Invoked(len(events), 0.0, 0, "read", "k", None))
            events.append(Returned(len(events), 0.0, 0, Outcome.OK, "v0"))
        else:
            events.append(Faulted(len(events), 0.0, happening, None if happening == "expire" else 0))
            events.append(Faulted(len(events), 0.0, "crash", 1))
    history = History({"k": "v0"}, tuple(events), 2)
    sessions = [session_of(history)[op.invoked] for op in history.operations]
    assert sessions[0] != sessions[1] == sessions[2] and {process for process, _ in sessions} == {0}


def test_program_order_and_sources(draw: Draw) -> None:
    """Operations of a session follow one another; an ambiguous write follows, and nothing follows it."""
    scene = observe(
        draw("""
        A: |-w1-| |-w2-? |-r0-|
        B:                       |-r2-| |-r1-|
        """)
    )
    assert [short(op) for op in scene.operations] == ["w1", "w2", "r0", "r2", "r1"]
    assert scene.previous == (None, 0, 0, None, 3)
    assert scene.sources == {2: None, 3: 1, 4: 0}
    assert scene.chains[0] == scene.chains[2] != scene.chains[1]
    assert set(scene.writes["k"]) == {(0,), (1,)} and set(scene.masks["k"]) == {0b01, 0b10}
    assert scene.judged == 3 and scene.unknown is None


def test_the_latest_writes_of_a_past(draw: Draw) -> None:
    """Of each chain the last write of the key that is in the past; none of keys that nobody wrote."""
    scene = observe(draw("A: |-w1-| |-w2-| |-w3-|\nB: |-w4-|"))
    assert [short(op) for op in scene.operations] == ["w1", "w4", "w2", "w3"]
    assert sorted(scene.latest(0b0111, "k")) == [1, 2] and list(scene.latest(0b1101, "k")) == [3]
    assert list(scene.latest(0, "k")) == [] == list(scene.latest(0b1111, "other"))


@pytest.mark.parametrize(
    ("drawing", "kept"),
    [
        ("A: |-w1-? |-r0-|", ["r0"]),
        ("A: |-w1-! |-r? |-r! |-r0-|", ["r0"]),
        ("A: |-r7-| |-w1-|", ["w1"]),
        ("A: |-d-| |-d-? |-r-| |-w1-|", ["d", "w1"]),
    ],
)
def test_who_takes_part(drawing: str, kept: list[str], draw: Draw) -> None:
    """Unread ambiguous writes, failures, and reads without a source or with several do not."""
    assert [short(op) for op in observe(draw(drawing)).operations] == kept


def test_reads_of_what_nobody_wrote(draw: Draw) -> None:
    """The first of each key, as fabricated, or as aborted with the writes that failed."""
    history = draw("A: |-w1@a-! |-r1@a-| |-r8@a-| |-r9@b-| |-r0@b-|", {"a": "v0", "b": "v0"})
    found = {item.key: item for item in observe(history).made_up("some-name")}
    assert [(key, item.kind, item.property) for key, item in sorted(found.items())] == [
        ("a", "aborted", "some-name"),
        ("b", "fabricated", "some-name"),
    ]
    assert [short(op) for op in found["a"].because] == ["w1"] and found["b"].because == ()


def test_doubts(draw: Draw) -> None:
    """Values with several sources are set aside; keys that are no registers are left out."""
    repeated = observe(draw("A: |-d-| |-d-| |-r-|"))
    assert "None was read" in (repeated.set_aside or "") and repeated.unknown == repeated.set_aside
    counted = observe(draw("A: |-<increment>1@a-| |-w1@b-| |-r1@b-|", {"a": "v0", "b": "v0"}))
    assert "increment" in (counted.left_out or "") and [short(op) for op in counted.operations] == [
        "w1",
        "r1",
    ]
    assert counted.unknown == counted.left_out and counted.judged == 1


@pytest.mark.parametrize(
    ("f", "outcome", "opaque"),
    [("write_many", Outcome.OK, True), ("write_many", Outcome.FAIL, False), ("read_many", Outcome.OK, False)]
    + [("work", Outcome.INFO, False), ("warm_up", Outcome.OK, False)],
)
def test_calls_without_a_key(f: str, outcome: Outcome, opaque: bool) -> None:
    """What may have written several keys leaves none of them to be judged."""
    calls: tuple[Event, ...] = (
        Invoked(0, 0.0, 0, f, None, None),
        Returned(1, 0.0, 0, outcome, None),
        Invoked(2, 0.0, 0, "read", "k", None),
        Returned(3, 0.0, 0, Outcome.OK, "v0"),
    )
    scene = observe(History({"k": "v0"}, calls, 1))
    assert (scene.left_out is not None) == opaque and scene.judged == (0 if opaque else 1)


def test_a_history_is_observed_once(draw: Callable[..., History]) -> None:
    """Every model that asks is shown the same scene."""
    history = draw("A: |-w1-| |-r1-|")
    assert observe(history) is observe(history)
