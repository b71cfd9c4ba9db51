"""Shared fixes: each is used, says what it leaves open, and is told in one way."""

import pytest

from cacheproof.models.encyclopaedia import fixes
from cacheproof.models.encyclopaedia.catalogue import ANOMALIES
from cacheproof.models.encyclopaedia.entry import LEAVES_OPEN

TEXTS = {name: str(getattr(fixes, name)) for name in fixes.__all__}


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_a_shared_fix_is_used(name: str) -> None:
    """By an entry at least; two of the same words would be one."""
    assert any(TEXTS[name] in entry.fixes for entry in ANOMALIES.values())
    assert list(TEXTS.values()).count(TEXTS[name]) == 1


def test_designs_say_what_they_leave_open() -> None:
    """All but the two that promise nothing more than they say."""
    silent = {name for name, text in TEXTS.items() if LEAVES_OPEN not in text}
    assert silent == {"READ_DATABASE", "SHORT_TTL"}


def test_no_fix_is_told_twice_in_other_words() -> None:
    """The name of a fix (what comes before the colon) belongs to one text."""
    names: dict[str, set[str]] = {}
    for entry in ANOMALIES.values():
        for fix in entry.fixes:
            if ": " in fix.partition(LEAVES_OPEN)[0]:
                names.setdefault(fix.split(": ")[0], set()).add(fix)
    assert {name: len(texts) for name, texts in names.items() if len(texts) > 1} == {}
