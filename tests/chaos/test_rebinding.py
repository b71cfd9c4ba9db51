"""chaos.rebinding: one function in the place of another, for whoever holds on to it.

Everything happens in forked children: what is replaced stays replaced.
"""

import math
import os
import sys
import types
from collections.abc import Callable
from math import gcd as early_gcd
from typing import Any

import pytest

from cacheproof.chaos.rebinding import rebind, replace_method


def in_a_child(work: Callable[[], bool]) -> bool:
    """Whether `work` returned True in a forked child."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            code = 0 if work() else 1
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def fake_gcd(*numbers: int) -> int:
    return -1


def by_default(function: Callable[..., int] = math.gcd, other: int = 3) -> int:
    return function(other)


def by_keyword(*, function: Callable[..., int] = math.gcd) -> int:
    return function(1)


class ByClass:
    function: Any = math.gcd


class Sub(ByClass):
    pass


class ByInstance:
    def __init__(self) -> None:
        self.function = math.gcd


def enclose(function: Callable[..., int]) -> Callable[[], int]:
    return lambda: function(1)


by_closure = enclose(math.gcd)
by_instance = ByInstance()
in_a_tuple = (math.gcd,)


def test_references_follow() -> None:
    """Modules, names imported from them, classes, instances, defaults and closures have the new function."""

    def work() -> bool:
        replacement: Any = types.MethodType(fake_gcd, 5)
        for _ in range(100):  # long enough for the interpreter to have specialised the calls
            Sub.function(4)
        rebind({math.gcd: replacement})
        found = [math.gcd(4), early_gcd(4), by_default(), by_keyword(), Sub.function(4), Sub().function(4)]
        return [*found, by_instance.function(4), by_closure()] == [-1] * 8

    assert in_a_child(work)


def test_other_defaults_stay() -> None:
    """Among several default arguments, only the one that is meant changes."""

    def work() -> bool:
        rebind({math.gcd: fake_gcd})
        return by_default.__defaults__ == (fake_gcd, 3)

    assert in_a_child(work)


def test_exceptions_and_limits() -> None:
    """A namespace that is excepted keeps the original, and so does a tuple that holds no defaults."""

    def work() -> bool:
        kept = types.SimpleNamespace(gcd=math.gcd)
        original = math.gcd
        rebind({math.gcd: fake_gcd}, except_in=[vars(kept)])
        return kept.gcd(4, 6) == 2 and in_a_tuple[0] is kept.gcd and original(4) == 4

    assert in_a_child(work)


def test_methods_of_c_types() -> None:
    """A method of an immutable type is replaced for every instance and subclass, and the original returned."""

    class Listed(list[int]):
        pass

    def work() -> bool:
        numbers, listed = [1], Listed([1, 2])
        before = [numbers.copy() for _ in range(100)]
        original = replace_method(list, "copy", lambda self: "replaced")
        found: list[Any] = [numbers.copy(), listed.copy()]
        return found == ["replaced"] * 2 and original(numbers) == [1] and len(before) == 100

    assert in_a_child(work)


def test_missing_method() -> None:
    """A type that has no such attribute of its own is left alone."""
    with pytest.raises(KeyError, match="appendix"):
        replace_method(list, "appendix", None)
