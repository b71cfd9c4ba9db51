"""The encyclopaedia of anomalies for a terminal: one entry as a page, and the index of all of them.

A page says in a fixed order what happens, who suffers, how to fix it and what each fix leaves open, where it
is described, and what to read next.  Lines are no longer than the terminal is wide, nor than is good to read.
"""

import re
from collections.abc import Iterator, Mapping
from textwrap import fill

from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

from cacheproof.models.anomalies import ANOMALIES, Anomaly
from cacheproof.models.encyclopaedia import LEAVES_OPEN, SECTIONS

__all__ = ["render_anomaly", "render_index"]

_WIDEST = 96
_ACTORS = {"R": "reader", "W": "writer", "Q": "background worker"}


class _Page:
    """Lines that are wrapped when the width is known."""

    def __init__(self, *parts: tuple[str, str, str]) -> None:
        """Each part is (label before the first line, text, style)."""
        self._parts = parts

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        width = min(options.max_width, _WIDEST)
        for label, text, style in self._parts:
            yield Text(_wrapped(label, text, width), style=style)


def _wrapped(label: str, text: str, width: int) -> str:
    """A text beside its label.  Slugs are never broken, so that they can be copied."""
    hanging = " " * len(label)
    return fill(text, width, initial_indent=label, subsequent_indent=hanging, break_on_hyphens=False)


def render_anomaly(entry: Anomaly) -> RenderableType:
    """The entry of one anomaly."""
    return _Page(*_without_last_blank(_page(entry)))


def _page(entry: Anomaly) -> Iterator[tuple[str, str, str]]:
    number = f"   [{entry.number}]" if entry.number is not None else ""
    yield "", f"{entry.title}{number}", "bold"
    yield "", "", ""
    yield "", entry.summary, ""
    yield "", "", ""
    if entry.steps:
        numbered = [(f"{step:>3}. ", text) for step, text in enumerate(entry.steps, start=1)]
        yield from _section(f"What happens{_legend(entry)}", numbered)
    yield from _section("Who suffers", [("  · ", text) for text in entry.suffers])
    yield from _section("How to fix it", [line for fix in entry.fixes for line in _fix(fix)])
    yield from _section("Source", [("  ", entry.source)])
    if entry.related:
        yield from _section("See also", [("  ", line) for line in _related(entry)])


def _section(heading: str, lines: list[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    yield "", heading, "bold"
    for label, text in lines:
        yield label, text, ""
    yield "", "", ""


def _legend(entry: Anomaly) -> str:
    """Who is who in the steps: " (R: reader, W: writer)"; nothing where nobody has a letter."""
    letters = set("".join(re.findall(r"\b[A-Z](?=\d?\b)", " ".join(entry.steps))))
    told = ", ".join(f"{letter}: {who}" for letter, who in _ACTORS.items() if letter in letters)
    return f"   ({told})" if told else ""


def _fix(fix: str) -> Iterator[tuple[str, str]]:
    does, _, leaves_open = fix.partition(LEAVES_OPEN)
    yield "  · ", does
    if leaves_open:
        yield "    ", f"leaves open: {leaves_open}"


def _related(entry: Anomaly) -> Iterator[str]:
    """The slug of each related entry, for the next `explain`, and its title where it says more."""
    longest = max(map(len, entry.related))
    for slug in entry.related:
        yield _slug_and_title(slug, longest)


def _slug_and_title(slug: str, width: int) -> str:
    title = ANOMALIES[slug].title
    return slug if title == slug.replace("-", " ") else f"{slug:<{width}}  {title}"


def _without_last_blank(parts: Iterator[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    found = list(parts)
    return found[:-1] if found[-1][1] == "" else found


def render_index(sections: Mapping[str, tuple[Anomaly, ...]] = SECTIONS) -> RenderableType:
    """All entries by section: number, the name that `explain` takes, and the title."""
    widest = max((len(entry.slug) for entries in sections.values() for entry in entries), default=0)
    parts: list[tuple[str, str, str]] = []
    for title, entries in sections.items():
        parts.append(("", title, "bold"))
        for entry in entries:
            number = "" if entry.number is None else str(entry.number)
            parts.append((f"  {number:>2}  {entry.slug:<{widest}}  ", entry.title, ""))
        parts.append(("", "", ""))
    return _Page(*parts, ("", "cacheproof explain NAME tells what one of them is, and what helps", "dim"))
