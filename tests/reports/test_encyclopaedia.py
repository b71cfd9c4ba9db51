"""The encyclopaedia for a terminal: everything that is known, in a fixed order, within the width."""

import pytest

from cacheproof.models.encyclopaedia import ANOMALIES, LEAVES_OPEN, SECTIONS, Anomaly
from cacheproof.reports.encyclopaedia import render_anomaly, render_index
from cacheproof.reports.terminal import to_text

HEADINGS = ["What happens", "Who suffers", "How to fix it", "Source", "See also"]
SMALL = Anomaly(
    "some-slug",
    7,
    "title",
    "Summary.",
    ("R one", "W2 two"),
    ("who",),
    (f"this{LEAVES_OPEN}something", "that"),
    "a book",
    ("stale-set", "stale-put-back"),
)


def shown(entry: Anomaly, *, width: int = 110) -> str:
    return to_text(render_anomaly(entry), width=width, color=False)


def lines_of(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


def test_an_entry_is_a_page() -> None:
    """Title with its number, summary, numbered steps, lists, what fixes leave open, source, what to read next."""
    assert lines_of(shown(SMALL)) == [
        "title   [7]",
        "",
        "Summary.",
        "",
        "What happens   (R: reader, W: writer)",
        "  1. R one",
        "  2. W2 two",
        "",
        "Who suffers",
        "  · who",
        "",
        "How to fix it",
        "  · this",
        "    leaves open: something",
        "  · that",
        "",
        "Source",
        "  a book",
        "",
        "See also",
        "  stale-set",
        "  stale-put-back  stale entry put back",
    ]


def test_what_an_entry_lacks_is_left_out() -> None:
    """Steps, number and related entries; the page then ends with its source."""
    text = shown(Anomaly("some-slug", None, "title", "Summary.", (), ("who",), ("this",), "a book"))
    assert not any(word in text for word in ("What happens", "[", "See also"))
    assert lines_of(text)[-1] == "  a book"


def test_nobody_is_explained_who_does_not_act() -> None:
    """Steps without letters need no legend; clients A and B are nobody special."""
    entry = Anomaly("s", None, "t", "Summary.", ("A writes", "the entry is old"), ("who",), ("this",), "b")
    assert "What happens" in lines_of(shown(entry))


@pytest.mark.parametrize("width", [60, 120])
@pytest.mark.parametrize("slug", sorted(ANOMALIES))
def test_every_entry_is_whole(slug: str, width: int) -> None:
    """All of its words are there, however they are wrapped, and no line is longer than the terminal or 96."""
    entry = ANOMALIES[slug]
    text = shown(entry, width=width)
    words = " ".join(text.split())
    fixes = (fix.replace(LEAVES_OPEN, " leaves open: ") for fix in entry.fixes)
    for part in (
        entry.title,
        entry.summary,
        entry.source,
        *entry.steps,
        *entry.suffers,
        *fixes,
        *entry.related,
    ):
        assert " ".join(part.split()) in words
    assert max(map(len, lines_of(text))) <= min(width, 96)
    found = [line.partition("   (")[0] for line in lines_of(text) if line.partition("   (")[0] in HEADINGS]
    assert found == HEADINGS


def test_what_looks_like_markup_is_text() -> None:
    """Brackets are shown as they are."""
    assert "[bold]x[/bold]" in shown(Anomaly("s", None, "t", "[bold]x[/bold].", (), ("who",), ("this",), "b"))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_index_lists_every_entry_once(width: int) -> None:
    """By section, with its number and its title, within the width."""
    lines = lines_of(to_text(render_index(), width=width, color=False))
    assert max(map(len, lines)) <= width
    assert [line for line in lines if line in SECTIONS] == list(SECTIONS)
    listed = [word for line in lines for word in line.split() if word in ANOMALIES and line.startswith("  ")]
    assert [slug for slug in ANOMALIES if slug not in listed] == []
    assert "   1  stale-set                       stale set" in lines
    assert "      stale-read                      stale read" in lines


def test_an_index_of_nothing_is_short() -> None:
    """Only how to go on."""
    assert to_text(render_index({}), width=80, color=False).startswith("cacheproof explain NAME")
