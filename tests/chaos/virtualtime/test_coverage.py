"""chaos.virtualtime.coverage: what follows the run's clock, in words."""

from cacheproof.chaos.virtualtime import NOT_VIRTUALISED, VIRTUALISED
from cacheproof.chaos.virtualtime.clocks import _REPLACED


def test_tables_do_not_overlap() -> None:
    """Nothing is said to be both, and every entry has words."""
    assert not set(VIRTUALISED) & set(NOT_VIRTUALISED)
    assert all(words for table in (VIRTUALISED, NOT_VIRTUALISED) for words in table.values())


def test_every_replaced_clock_is_listed() -> None:
    """A function of module time that is replaced occurs in the table."""
    listed = " ".join((*VIRTUALISED, *VIRTUALISED.values()))
    ns_variants = {name for name in _REPLACED if name.endswith("_ns")}
    assert [name for name in _REPLACED if name not in ns_variants and name not in listed] == []
    assert ns_variants == {f"{name}_ns" for name in ("time", "monotonic", "perf_counter", "clock_gettime")}
