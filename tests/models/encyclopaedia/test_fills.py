"""Stale fills: the entries of this section, and what all of them have in common."""

from cacheproof.models.encyclopaedia.catalogue import SECTIONS
from cacheproof.models.encyclopaedia.fills import FILLS


def test_the_section_has_its_numbers() -> None:
    """Those of the catalogue that belong here, in order, under its title."""
    assert tuple(entry.number for entry in FILLS) == (1, 2, 3, 4, 5, 7, 11, 12, 13, 14, 15, 18, 19)
    assert SECTIONS["Stale fills"] is FILLS


def test_every_schedule_ends_with_something_old() -> None:
    """The last step hands an old value on: it is set, written back, or returned."""
    ends = {entry.slug: entry.steps[-1] for entry in FILLS}
    assert [
        slug for slug, end in ends.items() if not any(word in end for word in ("v1", "entry", "record"))
    ] == []
