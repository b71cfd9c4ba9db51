"""Put one function in the place of another, also where code holds on to the old one already.

Two ways, because builtins come in two kinds:

- A *function* such as `time.time` is found by its references.  `rebind` replaces it in modules (`from time
  import time`), classes, instances, default arguments (`timer=time.monotonic`) and closures.  It does not
  look into lists, tuples, `__slots__` and the insides of C extensions.
- A *method of a C type* such as `datetime.now` or `lock.acquire` is replaced in the type itself by
  `replace_method`.  So every reference and every existing instance follows, `type(x) is datetime` stays
  true, and pickles keep their bytes: nothing of which a subclass in the place of the type could promise.
  CPython marks such types immutable, which forbids `setattr`, but their dictionary is an ordinary one; the
  interpreter's caches must be told (`PyType_Modified`).  Every replacement is verified.

Both are for a process that belongs to a run, a zygote and the clients forked from it.  There is no way back.
"""

import ctypes
import gc
import types
from collections.abc import Collection, Mapping
from typing import Any

from cacheproof.models.errors import EnvironmentFault

__all__ = ["rebind", "replace_method"]


def replace_method(cls: type, name: str, replacement: Any) -> Any:
    """Set attribute `name` of a C type to `replacement`; returns the raw attribute that was there.

    Raises KeyError if `cls` itself has no such attribute, and EnvironmentFault on an interpreter whose types
    cannot be changed.
    """
    attributes = _dictionary_of(cls)
    original = attributes[name]
    attributes[name] = replacement
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(cls))
    if cls.__dict__[name] is not replacement:
        raise EnvironmentFault(
            f"this interpreter does not let {cls.__name__}.{name} be replaced; use CPython"
        )
    return original


def _dictionary_of(cls: type) -> dict[str, Any]:
    for found in gc.get_referents(cls.__dict__):
        if isinstance(found, dict):
            return found
    raise EnvironmentFault(f"this interpreter does not show the dictionary of {cls.__name__}; use CPython")


def rebind(replacements: Mapping[Any, Any], *, except_in: Collection[dict[str, Any]] = ()) -> None:
    """Replace every reference to a key of `replacements` by its value.

    Keys are compared by identity.  Dictionaries in `except_in` (the `vars` of a module that must keep the
    originals) are left alone.
    """
    table = {id(old): (old, new) for old, new in replacements.items()}
    kept = {id(namespace) for namespace in (*except_in, replacements)}
    kept.add(id(table))
    tuples: list[tuple[Any, ...]] = []
    for holder in gc.get_referrers(*replacements):
        if id(holder) in kept:
            continue
        if isinstance(holder, tuple):
            tuples.append(holder)
        else:
            _rebind_in(holder, table)
    _rebind_defaults(tuples, table)


_Table = dict[int, tuple[Any, Any]]


def _rebind_in(holder: Any, table: _Table) -> None:
    """Replace what `holder`, a dictionary, closure cell or instance, refers to directly."""
    if isinstance(holder, dict):
        _rebind_values(holder, table)
    elif isinstance(holder, types.CellType):
        if (found := table.get(id(holder.cell_contents))) is not None:
            holder.cell_contents = found[1]
    elif type(getattr(holder, "__dict__", None)) is dict:
        # Since Python 3.11 an instance keeps its attributes inline until someone asks for its __dict__.
        _rebind_values(holder.__dict__, table)


def _rebind_values(namespace: dict[Any, Any], table: _Table) -> None:
    found = {name: table[id(value)][1] for name, value in namespace.items() if id(value) in table}
    if not found:
        return
    namespace.update(found)
    if "__module__" in namespace:
        _forget_caches(namespace)


def _forget_caches(namespace: dict[str, Any]) -> None:
    """If `namespace` is that of a class, tell the interpreter that it has changed."""
    for owner in gc.get_referrers(namespace):
        if isinstance(owner, type):
            ctypes.pythonapi.PyType_Modified(ctypes.py_object(owner))


def _rebind_defaults(tuples: list[tuple[Any, ...]], table: _Table) -> None:
    """Replace default arguments; other tuples stay as they are."""
    wanted = {id(values) for values in tuples}
    for function in gc.get_referrers(*tuples) if tuples else ():
        if isinstance(function, types.FunctionType) and id(function.__defaults__) in wanted:
            defaults = function.__defaults__ or ()
            function.__defaults__ = tuple(table.get(id(value), (value, value))[1] for value in defaults)
