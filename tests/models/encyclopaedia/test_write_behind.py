"""Write-behind: the entries of this section, and what all of them have in common."""

from cacheproof.models.encyclopaedia.catalogue import SECTIONS
from cacheproof.models.encyclopaedia.write_behind import WRITE_BEHIND


def test_the_section_has_its_numbers() -> None:
    """Those of the catalogue that belong here, in order, under its title."""
    assert tuple(entry.number for entry in WRITE_BEHIND) == tuple(range(51, 61))
    assert SECTIONS["Write-behind"] is WRITE_BEHIND


def test_every_schedule_is_about_a_change_under_way() -> None:
    """A worker Q brings it to the database, or should have."""
    words = ("Q", "queue", "the database still has")
    assert [e.slug for e in WRITE_BEHIND if not any(word in " ".join(e.steps) for word in words)] == []
