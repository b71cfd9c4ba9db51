"""Events carry an index and a virtual time first, and phases come in the order of the epilogue."""

from dataclasses import fields
from typing import get_args

from cacheproof.models.event import Event, Exchanged, Phase


def test_every_event_begins_with_its_stamp() -> None:
    """So that whoever records them can stamp them all alike."""
    for kind in get_args(Event):
        assert [field.name for field in fields(kind)[:2]] == ["index", "at_s"]


def test_phases_are_in_order() -> None:
    """Mend, let everything end, come to rest, look."""
    assert list(Phase) == ["heal", "drain", "quiesce", "final-reads"]


def test_an_exchange_is_delivered_at_once_unless_told_otherwise() -> None:
    """The defaults are the common case."""
    defaults = {field.name: field.default for field in fields(Exchanged)}
    assert (defaults["fate"], defaults["waits"], defaults["waited"]) == ("delivered", False, False)
