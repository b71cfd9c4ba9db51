"""Faults: the entries of this section, and what all of them have in common."""

from cacheproof.models.encyclopaedia.catalogue import SECTIONS
from cacheproof.models.encyclopaedia.faults import FAULTS


def test_the_section_has_its_numbers() -> None:
    """Those of the catalogue that belong here, in order, under its title."""
    assert tuple(entry.number for entry in FAULTS) == tuple(range(39, 51))
    assert SECTIONS["Faults"] is FAULTS


def test_every_schedule_has_its_fault() -> None:
    """Without it nothing of this would happen."""
    words = (
        "crash",
        "breaks",
        "lost",
        "fails",
        "dies",
        "partition",
        "cancelled",
        "times out",
        "refuses",
        "cannot reach",
    )
    assert [e.slug for e in FAULTS if not any(word in " ".join(e.steps) for word in words)] == []
