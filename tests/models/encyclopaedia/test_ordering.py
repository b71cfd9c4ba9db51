"""Orders and versions: the entries of this section, and what all of them have in common."""

from cacheproof.models.encyclopaedia.catalogue import SECTIONS
from cacheproof.models.encyclopaedia.ordering import ORDERING


def test_the_section_has_its_numbers() -> None:
    """Those of the catalogue that belong here, in order, under its title."""
    assert tuple(entry.number for entry in ORDERING) == (6, 8, 9, 10, 16, 17, 20, 21, 22, 23)
    assert SECTIONS["Orders and versions"] is ORDERING


def test_every_schedule_has_a_writer_or_two_keys() -> None:
    """Where nothing changes there is no order to get wrong."""
    parts = ("W", "another copy")
    assert [e.slug for e in ORDERING if not any(part in " ".join(e.steps) for part in parts)] == []
