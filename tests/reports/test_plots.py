"""Plots: each is one well-formed SVG document whose shapes stand where the numbers say."""

from collections.abc import Callable
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from cacheproof.models.errors import UsageError
from cacheproof.reports.plots import (
    COLOURS,
    WIDTH,
    Axis,
    Frame,
    Row,
    Series,
    line_chart,
    strip_chart,
    unit_chart,
)

SVG = "{http://www.w3.org/2000/svg}"
X, Y, LOG = Axis("seconds"), Axis("loads"), Axis("reads per second", log=True)
RISING = Series("rising", ((1, 1), (10, 10), (100, 100)))
FLAT = Series("flat", ((1, 10), (10, 10), (100, 10)), "always ten")
TITLE = Frame("Loads")
PARTS = ("cache", "database")
ROWS = (
    Row("cache-aside", {"read": {"cache": 2, "database": 1}, "write": {"cache": 1, "database": 1}}),
    Row("nothing", {"read": {}, "write": {"database": 3}}),
)


def lines(frame: Frame = TITLE, series: tuple[Series, ...] = (RISING, FLAT)) -> str:
    return line_chart(frame, LOG, Axis("loads", log=True), series)


def strips(frame: Frame = TITLE, series: tuple[Series, ...] = (RISING, FLAT)) -> str:
    return strip_chart(frame, X, Y, series)


def units(frame: Frame = TITLE, rows: tuple[Row, ...] = ROWS) -> str:
    return unit_chart(frame, rows, PARTS)


every_chart = pytest.mark.parametrize("chart", [lines, strips, units])


def all_of(text: str, tag: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(text).iter(SVG + tag))


def texts(text: str) -> list[str]:
    return [str(item.text) for item in all_of(text, "text")]


def corners(item: ElementTree.Element) -> list[tuple[float, float]]:
    pairs = [pair.split(",") for pair in item.attrib["points"].split()]
    return [(float(x), float(y)) for x, y in pairs]


@every_chart
def test_a_chart_is_a_document_of_its_own(chart: Callable[..., str]) -> None:
    """Well-formed, with a size, a white ground as its first shape, a title and a description, and no scripts."""
    text = chart(Frame("Loads per expiry", "by rate"))
    root = ElementTree.fromstring(text)
    assert root.tag == SVG + "svg"
    assert root.attrib["viewBox"] == f"0 0 {root.attrib['width']} {root.attrib['height']}"
    assert root.attrib["aria-label"] == "Loads per expiry"
    ground = all_of(text, "rect")[0].attrib
    assert (ground["fill"], ground["width"]) == ("#ffffff", str(WIDTH))
    assert [item.text for item in all_of(text, "desc")] == ["Loads per expiry. by rate"]
    assert texts(text)[:2] == ["Loads per expiry", "by rate"]
    assert all_of(text, "script") == []


@every_chart
def test_the_same_data_give_the_same_bytes(chart: Callable[..., str]) -> None:
    """Nothing in a picture depends on when or how often it is drawn; no coordinate has more than one decimal."""
    assert chart() == chart()
    for name in ("x", "y", "x1", "y1", "x2", "y2", "cx", "cy"):
        found = [item.attrib[name] for item in ElementTree.fromstring(chart()).iter() if name in item.attrib]
        assert all(len(number.partition(".")[2]) <= 1 for number in found)


@every_chart
def test_words_are_text_whatever_they_contain(chart: Callable[..., str]) -> None:
    """Brackets, ampersands and quotes are escaped, and what XML cannot say at all is written out."""
    title = "a < b & \"c\" > 'd' \x00 \x1b[31m\n]]>"
    root = ElementTree.fromstring(chart(Frame(title, title)))
    said = str(root.find(SVG + "title").text)  # type: ignore[union-attr]  # the document has one
    assert said.startswith("a < b & \"c\" > 'd' \\x00 \\x1b[31m\\n]]>")
    assert root.attrib["aria-label"] == said


@every_chart
def test_nothing_is_drawn_beyond_the_edges(chart: Callable[..., str]) -> None:
    """Every shape, and where every text begins, lies inside the picture."""
    root = ElementTree.fromstring(chart())
    wide, high = float(root.attrib["width"]), float(root.attrib["height"])
    for item in root.iter():
        for name, limit in (("x", wide), ("x1", wide), ("x2", wide), ("y", high), ("y1", high), ("y2", high)):
            assert 0 <= float(item.get(name, "0")) <= limit, item.attrib
        if "points" in item.attrib:
            assert all(0 <= x <= wide and 0 <= y <= high for x, y in corners(item))


def test_a_line_goes_through_its_points() -> None:
    """On two logarithmic axes a line of slope one is straight, and a constant one is level."""
    rising, flat = (corners(item) for item in all_of(lines(), "polyline"))
    steps = [(right[0] - left[0], left[1] - right[1]) for left, right in pairwise(rising)]
    assert steps[0] == pytest.approx(steps[1], abs=0.2) and min(steps[0]) > 100
    assert {y for _, y in flat} == {rising[1][1]}
    assert [x for x, _ in flat] == [x for x, _ in rising]


def test_each_line_has_its_colour_its_mark_and_its_name() -> None:
    """Series differ by more than colour, and names stand beside the ends of their lines."""
    text = lines()
    strokes = [item.attrib["stroke"] for item in all_of(text, "polyline")]
    assert strokes == list(COLOURS[:2])
    assert len(all_of(text, "circle")) == len(all_of(text, "polygon")) == 3 + 1
    assert {"rising", "flat", "always ten"} <= set(texts(text))


def test_names_do_not_overlap() -> None:
    """Seven lines that end in one point have seven names, one below the other, inside the picture."""
    same = tuple(Series(f"line {number}", ((1, 5), (10, 5)), "a note") for number in range(7))
    text = lines(series=same)
    named = [item for item in all_of(text, "text") if str(item.text).startswith("line ")]
    heights = [float(item.attrib["y"]) for item in named]
    assert len(heights) == 7
    assert all(below - above >= 30 for above, below in pairwise(heights))
    assert heights[0] > 0
    assert heights[-1] < float(ElementTree.fromstring(text).attrib["height"]) - 17


def test_axes_say_what_they_are_about() -> None:
    """Both labels and all ticks are there, as people write numbers."""
    assert {"reads per second", "loads", "1", "10", "100"} <= set(texts(lines()))
    assert {"seconds", "loads", "0", "20", "100"} <= set(texts(strips()))


def test_a_strip_for_each_series_on_the_same_axes() -> None:
    """Strips are as wide and high as each other, and each says how high it gets."""
    text = strips(series=(RISING, FLAT))
    first, second = (corners(item) for item in all_of(text, "polyline"))
    assert [x for x, _ in first] == [x for x, _ in second]
    assert first[1][1] - first[2][1] > 60
    peaks = [item.text for item in all_of(text, "text") if item.attrib["class"] == "peak"]
    assert peaks == ["100", "10"]


def test_a_square_for_each_of_what_is_counted() -> None:
    """Each part has its colour, and each cell its sum, a dash for none."""
    text = units()
    squares = [item.attrib["fill"] for item in all_of(text, "rect")[1 + len(PARTS) :]]
    assert squares == [COLOURS[n] for n in (0, 0, 1, 0, 1, 1, 1, 1)]
    assert [item.text for item in all_of(text, "text") if item.attrib["class"] == "tick"] == [
        "3",
        "2",
        "–",
        "3",
    ]
    assert {"cache", "database", "read", "write", "cache-aside", "nothing"} <= set(texts(text))


@pytest.mark.parametrize(
    "series",
    [(), (Series("empty", ()),), tuple(RISING for _ in range(8)), (Series("back", ((2, 1), (1, 1))),)],
)
@pytest.mark.parametrize("chart", [lines, strips])
def test_series_that_cannot_be_drawn_are_refused(
    chart: Callable[..., str], series: tuple[Series, ...]
) -> None:
    """None, one without points, more than can be told apart, one that goes back."""
    with pytest.raises(UsageError):
        chart(series=series)


@pytest.mark.parametrize(
    "rows",
    [
        (),
        (Row("no columns", {}),),
        (Row("an unknown part", {"read": {"disk": 1}}),),
        (ROWS[0], Row("an unknown column", {"delete": {"cache": 1}})),
    ],
)
def test_rows_that_cannot_be_drawn_are_refused(rows: tuple[Row, ...]) -> None:
    """None, no columns, and whatever the first row does not have."""
    with pytest.raises(UsageError):
        units(rows=rows)
