"""The shape of the simulated figures: what grows with the request rate, what does not, and what a start costs."""

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from types import ModuleType
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def stampede() -> Iterator[ModuleType]:
    """The module as the script sees it: its neighbours are imported by their bare names."""
    sys.path.insert(0, str(FOLDER))
    spec = importlib.util.spec_from_file_location("cacheproof_benchmarks_stampede", FOLDER / "stampede.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(FOLDER))
        del sys.modules[spec.name]


def loads(stampede: ModuleType, rule: str, rate: int, windows: int) -> float:
    """The mean number of loads of an expiry that takes half a second to load."""
    situation = stampede.Situation(rate)
    return mean(stampede.loads_of_one_expiry(rule, situation, seed) for seed in range(windows))


def test_without_protection_everybody_who_comes_during_the_load_loads(stampede: ModuleType) -> None:
    """One and half a second's readers."""
    assert loads(stampede, "none", 10, 200) == pytest.approx(6, rel=0.1)
    assert loads(stampede, "none", 1_000, 20) == pytest.approx(501, rel=0.05)


def test_simple_early_expiry_grows_with_the_rate(stampede: ModuleType) -> None:
    """About 19 loads at 1,000 reads a second, and 146 at 10,000."""
    assert loads(stampede, "simple early expiry", 1_000, 150) == pytest.approx(19.5, abs=1.5)
    assert loads(stampede, "simple early expiry", 10_000, 20) == pytest.approx(147, abs=8)


def test_xfetch_stays_near_e(stampede: ModuleType) -> None:
    """Between 2.2 and 3.3 at every rate, for as few windows as there is time for here; 2.6 to 2.9 for many."""
    for rate, windows in ((100, 400), (1_000, 200)):
        assert 2.2 < loads(stampede, "XFetch", rate, windows) < 3.3


def test_the_mutex_lets_some_load_again_and_the_corrected_lock_lets_nobody(stampede: ModuleType) -> None:
    """A waiter that missed before the fill: more of them the more there are, unless they look again."""
    few, many = (loads(stampede, "mutex recipe", rate, 30) for rate in (10, 1_000))
    assert 1 <= few < many <= 3
    assert {loads(stampede, "corrected lock", rate, 20) for rate in (10, 1_000)} == {1}


def test_a_load_that_outlives_its_lock_is_joined_by_others(stampede: ModuleType) -> None:
    """A load of 6 s: the recipe's lock lives 5 s, so two load; under the fenced one of 2 s nobody ever fills."""
    slow = stampede.Situation(5, 6.0)
    assert stampede.loads_of_one_expiry("mutex recipe", slow, 1) == 2
    assert stampede.loads_of_one_expiry("corrected lock", slow, 1) >= 30 / 2


def test_the_same_seed_gives_the_same_figures(stampede: ModuleType) -> None:
    """Chance comes from the seed alone."""
    for rule in stampede.RULES:
        again = [stampede.loads_of_one_expiry(rule, stampede.Situation(100), 7) for _ in range(2)]
        assert again[0] == again[1]


def test_a_warm_up_is_bounded_only_by_a_limit_and_jitter(stampede: ModuleType) -> None:
    """An eager warm-up is a burst, and its entries expire together; limited or gradual it is neither."""
    start = stampede.ColdStart(keys=500, rate=500, seconds=100)
    found = stampede.cold_starts(0, start)
    most = {name: max(counts) for name, counts in found.items()}
    second_wave = {name: max(counts[45:]) for name, counts in found.items()}
    assert most["eager"] == 500 > most["none"] > 100 >= most["limited"] > most["gradual"]
    assert second_wave["eager"] > 2 * second_wave["limited"]
    assert second_wave["eager"] > 2 * second_wave["gradual"]


def test_every_figure_is_printed_and_drawn(
    stampede: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--json` prints what the plots show, and each plot is a document."""
    costs = {"cache-aside": {"read": {"cache": 2, "database": 1}}}
    monkeypatch.setattr(stampede, "page_costs", lambda: costs)
    monkeypatch.setattr(stampede, "RATES", (1, 10))
    monkeypatch.setattr(stampede.herds, "__defaults__", ((1, 10),))
    monkeypatch.setattr(stampede.cold_starts, "__defaults__", (stampede.ColdStart(50, 10, seconds=9),))
    done = CliRunner().invoke(stampede.main, ["--json", "--windows", "10", "--plots", str(tmp_path)])
    assert done.exit_code == 0, done.output
    data = json.loads(done.output)
    assert set(data["loads_per_expiry"]["rules"]) == set(stampede.RULES)
    assert set(data["cold_start"]["loads_per_second"]) == set(stampede.WARM_UPS)
    assert data["round_trips"] == costs
    for name in ("loads-per-expiry", "cold-start", "round-trips"):
        ElementTree.parse(tmp_path / f"{name}.svg")
    words = CliRunner().invoke(stampede.main, ["--windows", "10"])
    assert "cache-aside" in words.output and "XFetch" in words.output
