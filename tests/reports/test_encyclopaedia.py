"""An entry of the encyclopaedia for a terminal: everything that is known, in a fixed order, within the width."""

import pytest

from cacheproof.models.encyclopaedia import ANOMALIES, Anomaly
from cacheproof.reports.encyclopaedia import render_anomaly
from cacheproof.reports.terminal import to_text

HEADINGS = ["What happens", "Who suffers", "How to fix it", "Source"]
SMALL = Anomaly("some-slug", 7, "title", "Summary.", ("one", "two"), ("who",), ("this", "that"), "a book")


def shown(entry: Anomaly, *, width: int = 110) -> str:
    return to_text(render_anomaly(entry), width=width, color=False)


def test_an_entry_is_a_page() -> None:
    """Title with its number, summary, numbered steps, lists, source."""
    lines = [line.rstrip() for line in shown(SMALL).splitlines()]
    assert lines == [
        "title   [7]",
        "",
        "Summary.",
        "",
        "What happens",
        "  1. one",
        "  2. two",
        "",
        "Who suffers",
        "  · who",
        "",
        "How to fix it",
        "  · this",
        "  · that",
        "",
        "Source",
        "  a book",
    ]


def test_without_steps_and_number_they_are_left_out() -> None:
    """An entry that names only what a property saw has neither."""
    text = shown(Anomaly("some-slug", None, "title", "Summary.", (), ("who",), ("this",), "a book"))
    assert "What happens" not in text and "[" not in text


@pytest.mark.parametrize("slug", sorted(ANOMALIES))
def test_every_entry_is_whole(slug: str) -> None:
    """All of its words are there, however they are wrapped, and no line is longer than 96 characters."""
    entry = ANOMALIES[slug]
    text = shown(entry)
    words = " ".join(text.split())
    for part in (entry.title, entry.summary, entry.source, *entry.steps, *entry.suffers, *entry.fixes):
        assert " ".join(part.split()) in words
    assert max(map(len, map(str.rstrip, text.splitlines()))) <= 96
    found = [line.strip() for line in text.splitlines() if line.strip() in HEADINGS]
    assert found == (HEADINGS if entry.steps else HEADINGS[1:])


def test_what_looks_like_markup_is_text() -> None:
    """Brackets are shown as they are."""
    assert "[bold]x[/bold]" in shown(Anomaly("s", None, "t", "[bold]x[/bold].", (), ("who",), ("this",), "b"))
