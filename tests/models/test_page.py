"""`models/page.py`: a row of the catalogue says what it is about, and nothing that is not its to say."""

import pytest

from cacheproof.models.errors import UsageError
from cacheproof.models.page import Kind, Page, Section


def test_a_page_names_module_and_class() -> None:
    """As what runs it needs them."""
    page = Page("leases", Section.CACHE_ASIDE, "leases:Leases", "LEASES")
    assert (page.module, page.class_name) == ("cacheproof.patterns.leases", "Leases")
    assert (page.kind, page.ttl_s, dict(page.options)) == (Kind.RECIPE, 300, {})


@pytest.mark.parametrize(
    ("cache", "contract"),
    [("leases.Leases", "LEASES"), (":Leases", "LEASES"), ("leases:", "LEASES"), ("leases:Leases", "")],
)
def test_what_names_nothing_is_refused(cache: str, contract: str) -> None:
    """A slip in a row is said at once, with what to write."""
    with pytest.raises(UsageError, match="write 'module:Class'"):
        Page("leases", Section.CACHE_ASIDE, cache, contract)


@pytest.mark.parametrize("option", ["seed", "profile", "under", "servers", "jobs"])
def test_a_page_does_not_choose_the_search(option: str) -> None:
    """How much is searched, and where, is the business of whoever runs the catalogue."""
    with pytest.raises(UsageError, match=option):
        Page("leases", Section.CACHE_ASIDE, "leases:Leases", "LEASES", options={option: 1})
    assert Page("leases", Section.CACHE_ASIDE, "leases:Leases", "LEASES", options={"clients": 3}).options
