"""Scales: every value has a place between the ends, and the ticks are numbers that people like."""

import random
from math import inf, log10, nan

import pytest

from cacheproof.models.errors import UsageError
from cacheproof.reports.scales import Scale, linear_scale, log_scale, number_text


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0, 97], (0, 20, 40, 60, 80, 100)),
        ([0, 100], (0, 20, 40, 60, 80, 100)),
        ([3], (0, 1, 2, 3)),
        ([0.3], (0, 0.1, 0.2, 0.3)),
        ([1_000], (0, 200, 400, 600, 800, 1_000)),
        ([0, 0], (0, 0.2)),
    ],
)
def test_a_linear_scale_begins_at_nothing_and_has_round_ticks(
    values: list[float], ticks: tuple[float, ...]
) -> None:
    """Steps of 1, 2 or 5 times a power of ten, up to the first that is not below the greatest value."""
    assert linear_scale(values).ticks == ticks


def test_a_linear_scale_may_begin_elsewhere() -> None:
    """With no beginning given, it is the tick at or below the least value."""
    assert linear_scale([102, 118], low=None).ticks == (100, 105, 110, 115, 120)
    assert linear_scale([-3, 5], low=None).low == -4
    assert linear_scale([7, 7], low=None).low <= 7 < linear_scale([7, 7], low=None).high


def test_a_log_scale_has_whole_decades() -> None:
    """Ticks are powers of ten around all values, with eight lines between each two."""
    scale = log_scale([0.9, 5_000])
    assert scale.ticks == (0.1, 1, 10, 100, 1_000, 10_000)
    assert len(scale.minor) == 5 * 8 and scale.minor[0] == pytest.approx(0.2)
    assert log_scale([1, 1]).ticks == (1, 10)
    assert log_scale([1, 100]).ticks == (1, 10, 100)


def test_places_keep_the_order_of_values() -> None:
    """The ends are at 0 and 1, everything else between them, in order; on a log scale decades are equal."""
    chance = random.Random(5)
    for _ in range(300):
        values = sorted(10 ** chance.uniform(-6, 9) for _ in range(chance.randint(1, 6)))
        for scale in (linear_scale(values), linear_scale(values, low=None), log_scale(values)):
            assert (scale.at(scale.low), scale.at(scale.high)) == (0, pytest.approx(1))
            places = [scale.at(value) for value in values]
            assert places == sorted(places)
            assert places[0] >= -1e-9
            assert places[-1] <= 1 + 1e-9
            assert list(scale.ticks) == sorted(set(scale.ticks))
            assert 2 <= len(scale.ticks) <= 17
    assert log_scale([1, 1_000]).at(10) == pytest.approx(1 / 3)


@pytest.mark.parametrize("values", [[], [nan], [1, inf], [-1]])
def test_a_linear_scale_refuses_what_has_no_place(values: list[float]) -> None:
    """No values, values that are no numbers, and those below the beginning."""
    with pytest.raises(UsageError):
        linear_scale(values)


@pytest.mark.parametrize("values", [[], [nan], [0], [5, -1]])
def test_a_log_scale_refuses_what_has_no_logarithm(values: list[float]) -> None:
    """Nothing that is 0 or less has a place."""
    with pytest.raises(UsageError):
        log_scale(values)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1.0, "1"),
        (2.5, "2.5"),
        (0.01, "0.01"),
        (0.00002, "0.00002"),
        (999.5, "999.5"),
        (1_000, "1,000"),
        (12_345_678, "12,345,678"),
        (-2_000, "-2,000"),
        (1 / 3, "0.3333"),
    ],
)
def test_numbers_are_written_as_people_do(value: float, text: str) -> None:
    """No exponents, no needless zeros, commas between thousands."""
    assert number_text(value) == text


def test_a_scale_is_what_it_says() -> None:
    """One made by hand works as those that are computed."""
    assert Scale(0, 4, (0, 4)).at(1) == 0.25
    assert Scale(1, 100, (1, 100), log=True).at(10) == pytest.approx(log10(10) / 2)
