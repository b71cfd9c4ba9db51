"""Load: the entries of this section, and what all of them have in common."""

from cacheproof.models.encyclopaedia.catalogue import SECTIONS
from cacheproof.models.encyclopaedia.load import LOAD


def test_the_section_has_its_numbers() -> None:
    """Those of the catalogue that belong here, in order, under its title."""
    assert tuple(entry.number for entry in LOAD) == tuple(range(24, 33))
    assert SECTIONS["Load"] is LOAD


def test_every_schedule_asks_the_database() -> None:
    """The cache is right here: it is the database that has to carry it."""
    words = ("load", "select", "database")
    assert [e.slug for e in LOAD if not any(word in " ".join(e.steps) for word in words)] == []
