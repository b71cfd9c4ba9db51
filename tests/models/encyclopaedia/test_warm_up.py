"""Warm-up and rollout: the entries of this section, and what all of them have in common."""

from cacheproof.models.encyclopaedia.catalogue import SECTIONS
from cacheproof.models.encyclopaedia.warm_up import WARM_UPS


def test_the_section_has_its_numbers() -> None:
    """Those of the catalogue that belong here, in order, under its title."""
    assert tuple(entry.number for entry in WARM_UPS) == tuple(range(73, 78))
    assert SECTIONS["Warm-up and rollout"] is WARM_UPS


def test_every_schedule_fills_a_cache() -> None:
    """With what a loader, a replay or a peer brings."""
    words = ("sets", "fills", "replayed")
    assert [e.slug for e in WARM_UPS if not any(word in " ".join(e.steps) for word in words)] == []
