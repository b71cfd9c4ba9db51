"""Locks: the entries of this section, and what all of them have in common."""

from cacheproof.models.encyclopaedia.catalogue import SECTIONS
from cacheproof.models.encyclopaedia.locks import LOCKS


def test_the_section_has_its_numbers() -> None:
    """Those of the catalogue that belong here, in order, under its title."""
    assert tuple(entry.number for entry in LOCKS) == tuple(range(33, 39))
    assert SECTIONS["Locks"] is LOCKS


def test_every_schedule_acquires_a_lock() -> None:
    """Somebody has to hold what goes wrong."""
    assert [entry.slug for entry in LOCKS if "acquires the lock" not in " ".join(entry.steps)] == []
