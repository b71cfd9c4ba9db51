"""The encyclopaedia reads as one: same notation, full sentences, no entry twice."""

import re

from cacheproof.models.encyclopaedia import ANOMALIES


def test_slugs_are_kebab_case_and_keys() -> None:
    """A slug can be a file name, a command-line argument and an anchor."""
    for slug, entry in ANOMALIES.items():
        assert slug == entry.slug and re.fullmatch(r"[a-z]+(-[a-z]+)*", slug)


def test_summaries_are_sentences_and_steps_are_not() -> None:
    """A summary is prose that ends in a full stop; steps are a list and do not."""
    for entry in ANOMALIES.values():
        assert entry.summary[0].isupper() and entry.summary.endswith(".")
        assert not any(
            step.endswith(".") for step in (*entry.steps, *entry.fixes, *entry.suffers, entry.source)
        )
        assert len({entry.summary for entry in ANOMALIES.values()}) == len(ANOMALIES)


def test_the_catalogue_numbers_are_those_that_are_promised() -> None:
    """The anomalies of the catalogue that the harness can name."""
    numbers = sorted(entry.number for entry in ANOMALIES.values() if entry.number)
    assert numbers == [1, 2, 3, 6, 7, 8, 9, 23, 39, 40, 51, 52, 55]
