"""General names: the entries of what a property saw, and what all of them have in common."""

from cacheproof.models.encyclopaedia.catalogue import ANOMALIES, SECTIONS
from cacheproof.models.encyclopaedia.general import GENERAL


def test_general_names_have_no_number() -> None:
    """The catalogue numbers causes; these name what was seen."""
    assert all(entry.number is None for entry in GENERAL)
    assert SECTIONS["General names"] is GENERAL


def test_general_names_lead_to_causes() -> None:
    """Following what is related, a numbered entry is at most two steps away."""
    for entry in GENERAL:
        near = [ANOMALIES[slug] for slug in entry.related]
        near += [ANOMALIES[slug] for one in near for slug in one.related]
        assert any(one.number is not None for one in near), entry.slug
