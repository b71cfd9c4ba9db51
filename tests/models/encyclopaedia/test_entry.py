"""An entry is a value, and its fixes say what they leave open in one way."""

from dataclasses import FrozenInstanceError

import pytest

from cacheproof.models.encyclopaedia.entry import LEAVES_OPEN, Anomaly

ENTRY = Anomaly(
    "slug", None, "title", "Summary.", ("one", "two"), ("who",), (f"this{LEAVES_OPEN}that",), "book"
)


def test_an_entry_is_frozen() -> None:
    """Nobody changes what everybody reads."""
    with pytest.raises(FrozenInstanceError):
        ENTRY.slug = "other"  # type: ignore[misc]  # that it cannot be is the point


def test_nothing_is_related_unless_said() -> None:
    """`related` is the one field that may be left out."""
    assert ENTRY.related == ()


def test_a_fix_falls_into_what_it_does_and_what_it_leaves_open() -> None:
    """At the first such words."""
    assert ENTRY.fixes[0].partition(LEAVES_OPEN) == ("this", LEAVES_OPEN, "that")
