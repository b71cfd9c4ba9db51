"""The name of a cache under test, and back: so that a stored failure can be replayed by itself.

package.module:Class      where the module can be imported by that name
tests/test_it.py:Class    where it cannot: a path, relative to the current folder if it lies below it
"""

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cacheproof.models.errors import UsageError

__all__ = ["load_cache", "name_cache", "short_name"]


def name_cache(make_cache: Callable[..., Any]) -> str:
    """A name by which `load_cache` finds the cache again, if that is possible at all."""
    module = getattr(make_cache, "__module__", None) or type(make_cache).__module__
    name = getattr(make_cache, "__qualname__", type(make_cache).__qualname__)
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or _imports_as(module, file):
        return f"{module}:{name}"
    path = Path(file)
    return f"{path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}:{name}"


def _imports_as(module: str, file: str) -> bool:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return False
    if spec is None or spec.origin is None or module == "__main__":
        return False
    inside = any(Path(spec.origin).is_relative_to(Path(item or os.curdir).resolve()) for item in sys.path)
    return inside and os.path.realpath(spec.origin) == os.path.realpath(file)


def short_name(make_cache: Callable[..., Any]) -> str:
    """The name that reports show: that of the class."""
    return str(getattr(make_cache, "__qualname__", type(make_cache).__qualname__)).rpartition(">.")[2]


def load_cache(name: str) -> Callable[..., Any]:
    """The cache of this name.  Raises UsageError, with the reason, if it cannot be loaded."""
    where, _, attribute = name.rpartition(":")
    if not where or "<" in attribute:
        raise UsageError(
            f"{name!r} cannot be loaded by name; define the cache class at the top level of a module"
        )
    try:
        found: Any = _load_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
        for part in attribute.split("."):
            found = inspect.getattr_static(found, part)
    except Exception as error:
        raise UsageError(
            f"cannot load the cache {name!r}: {error!r}; run from the folder it was found in"
        ) from error
    return found  # type: ignore[no-any-return]  # whatever it is, it is called like a cache class


def _load_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    if spec is None or spec.loader is None or not path.exists():
        raise UsageError(f"no such file: {str(path)!r}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module
