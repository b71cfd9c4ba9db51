"""docs/soundness.md speaks of every property, of nothing else, and says of each what has to be said."""

import re
from pathlib import Path

import pytest

from cacheproof.models.ladder import RUNGS
from cacheproof.models.properties import PROPERTIES

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "soundness.md").read_text("utf-8")

LABELS = ("Refuted", "Upheld", "Unknown", "Sound", "Complete", "Cost", "Source", "Tested")

SECTIONS = dict(re.findall(r"^### `([^`]+)`\n(.*?)(?=^##|\Z)", PAGE, flags=re.MULTILINE | re.DOTALL))


def test_every_property_has_a_section() -> None:
    """Once, and there is no section of a property that does not exist."""
    headings = re.findall(r"^### (.*)$", PAGE, flags=re.MULTILINE)
    assert sorted(heading.strip("`") for heading in headings) == list(PROPERTIES)


def test_every_property_has_a_line_in_the_table() -> None:
    """In alphabetical order, with a link to its section."""
    rows = re.findall(r"^\| \[`([^`]+)`\]\(#([^)]+)\) \|", PAGE, flags=re.MULTILINE)
    assert rows == [(name, name) for name in PROPERTIES]


@pytest.mark.parametrize("name", PROPERTIES)
def test_every_section_says_what_has_to_be_said(name: str) -> None:
    """What each verdict means, whether it can be wrong, what it costs, where it is from, how it is tested."""
    said = re.findall(r"^- \*\*(\w+)\*\*: \S", SECTIONS[name], flags=re.MULTILINE)
    assert tuple(said) == LABELS


def test_its_links_lead_somewhere() -> None:
    """To files that exist, and to headings of this page."""
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (DOCS / target).resolve().is_file(), target


@pytest.mark.parametrize("name", PROPERTIES)
def test_the_module_of_every_property_is_named(name: str) -> None:
    """In its section, or at the head of its family."""
    module = PROPERTIES[name].__module__.removeprefix("cacheproof.").replace(".", "/")
    assert f"../{module}.py" in PAGE


def test_the_ladder_names_its_rungs() -> None:
    """Every property that is a rung stands in the drawing, in its own name or in words."""
    drawing = re.findall(r"^```text\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)[0]
    words = {
        "bounded-staleness": "bounded staleness",
        "delta-atomicity": "Δ-atomicity",
        "staleness-in-versions": "staleness in versions",
    }
    names = {rung.property.name for rung in RUNGS}
    assert [name for name in sorted(names) if words.get(name, name) not in drawing] == []
