"""`patterns/catalogue.py`: every row leads to a class and its contract, and every page has a row."""

import inspect
import pkgutil
from importlib import import_module

import pytest

import cacheproof.patterns
from cacheproof.harness.verify import verify
from cacheproof.models.contract import Contract
from cacheproof.models.page import Page, Section
from cacheproof.patterns.catalogue import PAGES

every_row = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@every_row
def test_a_row_leads_to_a_cache_and_its_contract(page: Page) -> None:
    """Both are in the module that it names, and the class takes an environment alone."""
    module = import_module(page.module)
    cache, contract = getattr(module, page.class_name), getattr(module, page.contract)(page.ttl_s)
    assert isinstance(contract, Contract)
    assert contract.ttl_s == page.ttl_s
    inspect.signature(cache).bind(None)


@every_row
def test_options_are_those_of_verify(page: Page) -> None:
    """An option that verify does not take would end the whole run."""
    assert set(page.options) <= set(inspect.signature(verify).parameters)


def test_names_are_unique() -> None:
    """A row is asked for by its name."""
    names = [page.name for page in PAGES]
    assert len(set(names)) == len(names)
    assert all(name == name.lower() and " " not in name and "_" not in name for name in names)


def test_sections_are_not_mixed() -> None:
    """The rows of a section stand together, in the order of the sections."""
    order = [list(Section).index(page.section) for page in PAGES]
    assert order == sorted(order)


def test_every_page_has_a_row() -> None:
    """A pattern that is in the folder and not in the catalogue would be judged by nobody."""
    files = {item.name for item in pkgutil.iter_modules(cacheproof.patterns.__path__)} - {"catalogue"}
    assert files - {page.cache.partition(":")[0] for page in PAGES} == set()
