"""The table of rules: every name has an entry, and the specific comes before the general."""

import pytest

from cacheproof.models.anomaly_rules.kinds import KINDS, About
from cacheproof.models.anomaly_rules.table import RULES
from cacheproof.models.encyclopaedia import ANOMALIES, SECTIONS


@pytest.mark.parametrize("about", list(About))
def test_every_rule_names_an_entry(about: About) -> None:
    """Once for each thing: a second rule of the same name would be a sign of two causes under one name."""
    slugs = [slug for slug, _ in RULES[about]]
    assert set(slugs) <= set(ANOMALIES) and len(slugs) == len(set(slugs))


def test_every_kind_is_about_something_that_has_rules() -> None:
    """Or about nothing that rules could tell."""
    assert {kind.about for kind in KINDS.values()} == set(About) == set(RULES)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("poison-write", "pop-then-crash"),
        ("lost-write-behind", "dirty-eviction"),
        ("staleness-beyond-ttl", "stale-set"),
        ("joined-stale-load", "stale-set"),
        ("warm-up-zombie", "warm-up-overwrite"),
        ("warm-up-overwrite", "fill-over-write-through"),
        ("unfenced-late-write", "stale-set"),
        ("invalidate-before-commit", "pre-delete-race"),
        ("resurrected-delete", "stale-set"),
        ("fill-over-write-through", "stale-set"),
        ("version-reset", "version-inversion"),
        ("dual-write-gap", "crash-before-invalidation"),
        ("ambiguous-commit", "crash-before-invalidation"),
        ("commit-window", "no-invalidation"),
        ("zombie-write", "stale-set"),
        ("zombie-write", "write-through-reorder"),
        ("failover-rollback", "stale-set"),
        ("durability-rollback", "stale-set"),
        ("replica-lag-fill", "old-snapshot-fill"),
        ("one-way-partition", "lost-invalidation"),
        ("one-way-partition", "no-invalidation"),
    ],
)
def test_the_specific_comes_before_the_general(first: str, then: str) -> None:
    """The second fits, or may fit, where the first does."""
    slugs = [slug for slug, _ in RULES[About.VALUE]]
    assert slugs.index(first) < slugs.index(then)


def test_general_names_are_used() -> None:
    """An entry without a number names a kind, or a rule that tells of a design rather than an accident."""
    named = {kind.general for kind in KINDS.values()} | {
        slug for rules in RULES.values() for slug, _ in rules
    }
    assert {entry.slug for entry in SECTIONS["General names"]} <= named
