"""Every page of patterns/: its contract is well-formed, its text agrees with it, and it stands alone."""

import ast
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType

import pytest

import cacheproof.patterns
from cacheproof.models.contract import Condition, Contract
from cacheproof.patterns.cache_aside import CACHE_ASIDE
from cacheproof.patterns.read_through import READ_THROUGH

PAGES = [
    import_module(f"cacheproof.patterns.{page.name}")
    for page in pkgutil.iter_modules(cacheproof.patterns.__path__)
    if page.name != "catalogue"  # which lists them
]
WRITING = {"write", "increment"}
MAY_IMPORT = sys.stdlib_module_names | {"psycopg", "redis"}

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.__name__.rpartition(".")[2])
every_ttl = pytest.mark.parametrize("ttl_s", [300, None])


def contracts(page: ModuleType) -> list[Callable[[float | None], Contract]]:
    return [getattr(page, name) for name in page.__all__ if name.isupper()]


def imported(page: ModuleType) -> Iterator[str]:
    for node in ast.walk(ast.parse(inspect.getsource(page))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)


@every_page
def test_a_page_has_one_contract_and_the_cache_it_is_about(page: ModuleType) -> None:
    """Each page exports one contract and at least one class that can be read, and written or counted."""
    classes = [item for name in page.__all__ if inspect.isclass(item := getattr(page, name))]
    assert len(contracts(page)) == 1
    assert any(hasattr(kind, "read") and WRITING & set(dir(kind)) for kind in classes)


@every_page
@every_ttl
def test_a_contract_keeps_only_what_it_claims(page: ModuleType, ttl_s: float | None) -> None:
    """Ids are unique, each promise is claimed somewhere, and kept is a part of claimed."""
    for contract in contracts(page):
        promises = contract(ttl_s).guarantees
        assert len({promise.id for promise in promises}) == len(promises) > 0
        for promise in promises:
            assert promise.kept <= promise.claimed <= frozenset(Condition), promise.id
            assert promise.claimed, promise.id
            assert promise.claim, promise.id


@every_page
@every_ttl
def test_a_contract_has_the_ttl_and_the_workers_of_its_cache(page: ModuleType, ttl_s: float | None) -> None:
    """The ttl is the one asked for, and a cache with a worker says so."""
    working = any(hasattr(getattr(page, name), "work") for name in page.__all__)
    for contract in contracts(page):
        assert contract(ttl_s).ttl_s == ttl_s
        assert bool(contract(ttl_s).workers) == working


@every_page
def test_the_text_names_every_promise(page: ModuleType) -> None:
    """The first screen of a page says of each id of its contract what is claimed and what is kept."""
    claimed, kept = str(page.__doc__).partition("Claimed")[2].split("\nKept: ")
    assert "Known anomalies" in kept
    for contract in contracts(page):
        for promise in contract(300).guarantees:
            assert f"    {promise.id}  " in claimed
            assert promise.id in kept


@every_page
def test_a_page_needs_no_other_page(page: ModuleType) -> None:
    """A pattern imports the standard library, two drivers and the models, and nothing else."""
    foreign = [
        name
        for name in imported(page)
        if name.partition(".")[0] not in MAY_IMPORT and not name.startswith("cacheproof.models.")
    ]
    assert foreign == []


@every_ttl
def test_read_through_promises_what_cache_aside_promises(ttl_s: float | None) -> None:
    """Claim RT1: the same guarantees, kept under the same conditions."""
    assert READ_THROUGH(ttl_s).guarantees == CACHE_ASIDE(ttl_s).guarantees


@pytest.mark.parametrize("make", [contract for page in PAGES for contract in contracts(page)])
def test_without_a_ttl_nothing_more_is_kept(make: Callable[[float | None], Contract]) -> None:
    """Taking the ttl away never makes a promise safer."""
    with_ttl = {promise.id: promise.kept for promise in make(300).guarantees}
    assert all(promise.kept <= with_ttl[promise.id] for promise in make(None).guarantees)
