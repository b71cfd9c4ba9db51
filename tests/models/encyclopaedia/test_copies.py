"""Events and copies: the entries of this section, and what all of them have in common."""

from cacheproof.models.encyclopaedia.catalogue import SECTIONS
from cacheproof.models.encyclopaedia.copies import COPIES


def test_the_section_has_its_numbers() -> None:
    """Those of the catalogue that belong here, in order, under its title."""
    assert tuple(entry.number for entry in COPIES) == tuple(range(61, 73))
    assert SECTIONS["Events and copies"] is COPIES


def test_every_schedule_has_a_message() -> None:
    """An event, an invalidation, a reply: something that comes late, twice, elsewhere or never."""
    words = ("event", "XADD", "invalidat", "reply", "message", "tells", "replica", "deletes the entry")
    assert [e.slug for e in COPIES if not any(word in " ".join(e.steps) for word in words)] == []
