"""Sources of histories: `draw` for timelines, `act` for dialogues with servers, `happenings` for chance."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from cacheproof.models.history import History


def _neighbour(name: str) -> ModuleType:
    """A module of this folder.  Test folders are no packages, so it is loaded from its path."""
    full_name = f"cacheproof_tests_models_{name}"
    if full_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(full_name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[full_name] = module
        spec.loader.exec_module(module)
    return sys.modules[full_name]


@pytest.fixture(scope="session")
def draw() -> Callable[..., History]:
    """Reads a history from a drawing (see timeline.py)."""
    reader: Callable[..., History] = _neighbour("timeline").draw
    return reader


@pytest.fixture(scope="session")
def act() -> Callable[..., History]:
    """Reads a history from a dialogue, step by step (see dialogue.py)."""
    reader: Callable[..., History] = _neighbour("dialogue").act
    return reader


@pytest.fixture(scope="session")
def happenings() -> Callable[..., History]:
    """Makes a small random history from a seed (see happenings.py)."""
    source: Callable[..., History] = _neighbour("happenings").happenings
    return source
