"""The encyclopaedia reads as one: same notation, full sentences, no entry twice, none missing."""

import re

import pytest

from cacheproof.models.encyclopaedia.catalogue import ANOMALIES, SECTIONS
from cacheproof.models.encyclopaedia.entry import LEAVES_OPEN, Anomaly

ENTRIES = [pytest.param(entry, id=slug) for slug, entry in ANOMALIES.items()]
CATALOGUE = 77
"""So many anomalies the catalogue numbers."""


def test_every_anomaly_of_the_catalogue_has_an_entry() -> None:
    """Once, and by number within its section."""
    numbers = [entry.number for entry in ANOMALIES.values() if entry.number is not None]
    assert sorted(numbers) == list(range(1, CATALOGUE + 1))
    for title, entries in SECTIONS.items():
        within = [entry.number for entry in entries if entry.number is not None]
        assert within == sorted(within) and (len(within) == len(entries) or not within), title


def test_sections_are_apart() -> None:
    """No slug stands in two of them, and none was lost on the way."""
    assert sum(len(entries) for entries in SECTIONS.values()) == len(ANOMALIES)
    assert all(slug == entry.slug for slug, entry in ANOMALIES.items())


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_is_complete(entry: Anomaly) -> None:
    """A slug for file names and arguments, at least two steps, somebody who suffers, a fix, a source."""
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", entry.slug)
    assert entry.title and entry.source and entry.suffers and entry.fixes
    assert 2 <= len(entry.steps) <= 5


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_is_understood_in_a_minute(entry: Anomaly) -> None:
    """Short sentences that end in a full stop, short steps that do not, a title of a few words."""
    sentences = re.split(r"(?<=[.!?]) ", entry.summary)
    assert entry.summary[0].isupper() and entry.summary.endswith(".")
    assert 1 <= len(sentences) <= 3 and all(len(sentence.split()) <= 36 for sentence in sentences)
    assert len(entry.title.split()) <= 9 and len(entry.summary) <= 260
    assert all(len(step) <= 100 for step in entry.steps)
    lists = (*entry.steps, *entry.fixes, *entry.suffers, entry.source, entry.title)
    assert not any(text.endswith(".") for text in lists)


@pytest.mark.parametrize("entry", ENTRIES)
def test_steps_keep_to_the_notation(entry: Anomaly) -> None:
    """Who acts is R, W or Q; general names may speak of clients A and B."""
    actors = {word for step in entry.steps for word in re.findall(r"\b[A-Z][0-9]?\b", step)}
    general = {"A", "B"} if entry.number is None else set()
    assert actors <= {"R", "R2", "R3", "W", "W2", "Q", "Q2"} | general


@pytest.mark.parametrize("entry", ENTRIES)
def test_related_entries_exist(entry: Anomaly) -> None:
    """At least one, not itself, none twice."""
    assert entry.related and set(entry.related) <= set(ANOMALIES) - {entry.slug}
    assert len(set(entry.related)) == len(entry.related) <= 4


def test_every_entry_can_be_reached_from_another() -> None:
    """Somebody points at it, so that a reader finds it by browsing."""
    reached = {slug for entry in ANOMALIES.values() for slug in entry.related}
    assert set(ANOMALIES) - reached == set()


@pytest.mark.parametrize("entry", ENTRIES)
def test_fixes_are_told_in_one_way(entry: Anomaly) -> None:
    """What it does, then at most once what it leaves open; none of them twice."""
    assert len(set(entry.fixes)) == len(entry.fixes)
    for fix in entry.fixes:
        does, _, leaves = fix.partition(LEAVES_OPEN)
        assert does and "leaves open" not in does and LEAVES_OPEN not in leaves
        assert fix.count("leaves open") == bool(leaves)


def test_no_two_entries_say_the_same() -> None:
    """Titles and summaries are all different."""
    assert len({entry.title for entry in ANOMALIES.values()}) == len(ANOMALIES)
    assert len({entry.summary for entry in ANOMALIES.values()}) == len(ANOMALIES)
