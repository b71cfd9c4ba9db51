"""A cache has a name by which it is found again, or it is said why not."""

import sys
from pathlib import Path

import pytest

from cacheproof.harness.naming import load_cache, name_cache, short_name
from cacheproof.models.errors import UsageError
from cacheproof.patterns.cache_aside import CacheAside

MODULE = """
class Cache:
    class Inner: ...

    @staticmethod
    def make(env): ...
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a module that is not importable by name."""
    (tmp_path / "test_mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "test_mine", raising=False)
    return tmp_path


def test_an_importable_class_is_named_by_its_module() -> None:
    """And found by that name."""
    name = name_cache(CacheAside)
    assert name == "cacheproof.patterns.cache_aside:CacheAside"
    assert load_cache(name) is CacheAside


def test_a_class_in_a_file_is_named_by_its_path(folder: Path) -> None:
    """Relative to the current folder if it lies below it, so that a colleague can use it, else absolute."""
    loaded = load_cache("test_mine.py:Cache.Inner")
    assert name_cache(loaded) == "test_mine.py:Cache.Inner"
    again = load_cache(name_cache(loaded))
    assert again.__qualname__ == loaded.__qualname__


def test_a_file_elsewhere_is_named_by_its_whole_path(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever one is, it is found."""
    loaded = load_cache("test_mine.py:Cache")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert name_cache(loaded) == f"{folder}/test_mine.py:Cache"
    assert load_cache(name_cache(loaded)).__name__ == "Cache"


def test_the_short_name_is_that_of_the_class() -> None:
    """Without the function in which it was made."""

    class Local: ...

    assert short_name(Local) == "Local"
    assert short_name(CacheAside) == "CacheAside"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Cache", "'Cache' cannot be loaded by name; define the cache class at the top level"),
        ("mine:f.<locals>.Cache", "cannot be loaded by name"),
        ("nowhere.to.be.found:Cache", r"cannot load the cache .*ModuleNotFoundError.*run from the folder"),
        ("nothing.py:Cache", "no such file: 'nothing.py'"),
        ("test_mine.py:Other", "cannot load the cache 'test_mine.py:Other'"),
    ],
)
def test_what_cannot_be_loaded_is_said(name: str, message: str) -> None:
    """UsageError with the name and the reason."""
    with pytest.raises(UsageError, match=message):
        load_cache(name)


def test_a_module_that_breaks_while_it_is_imported_is_said(folder: Path) -> None:
    """With its own error."""
    (folder / "broken.py").write_text("1 / 0")
    with pytest.raises(UsageError, match="division by zero"):
        load_cache("broken.py:Cache")
