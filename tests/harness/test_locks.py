"""Which lock a client holds, from what has been recorded."""

import pytest

from cacheproof.harness.locks import held_lock
from cacheproof.models.event import Event, Faulted, Invoked, Returned
from cacheproof.models.operation import Outcome, Value


def told(script: str) -> list[Event]:
    """Events from words: `A acquire`, `A ok True`, `A release`, `A info`, `A crash`."""
    events: list[Event] = []
    for line in script.split(", "):
        who, what, *rest = line.split()
        at, client = (len(events), 0.0), ord(who) - ord("A")
        value: Value = {"True": True, "False": False}.get(rest[0], rest[0]) if rest else None
        if what in ("ok", "fail", "info"):
            events.append(Returned(*at, client, Outcome(what), value))
        elif what in ("crash", "restart"):
            events.append(Faulted(*at, what, client))
        else:
            events.append(Invoked(*at, client, what, "k", None))
    return events


@pytest.mark.parametrize(
    ("script", "held"),
    [
        ("A read", None),
        ("A acquire", None),
        ("A acquire, A ok True", "k"),
        ("A acquire, A ok token", "k"),
        ("A acquire, A ok False", None),
        ("A acquire, A fail", None),
        ("A acquire, A info", None),
        ("A acquire, A ok True, B acquire, B ok False, B crash", "k"),
        ("A acquire, A ok True, A read, A ok v1", "k"),
        ("A acquire, A ok True, A release", None),
        ("A acquire, A ok True, A release, A ok True", None),
        ("A acquire, A ok True, A release, A ok, A acquire, A ok True", "k"),
        ("A acquire, A ok True, A crash", None),
        ("A acquire, A ok True, A crash, A restart", None),
    ],
)
def test_what_a_client_holds(script: str, held: str | None) -> None:
    """What it acquired last, unless it has begun to release it, was refused, or has died."""
    assert held_lock(told(script), 0) == held


def test_everybody_is_asked_for_himself() -> None:
    """What others do changes nothing."""
    events = told("A acquire, B read, A ok True, B ok v1, B crash")
    assert (held_lock(events, 0), held_lock(events, 1)) == ("k", None)
