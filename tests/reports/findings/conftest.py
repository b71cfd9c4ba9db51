"""`draw` for timelines, as the tests of the models read them: words are tried on what properties really find."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cacheproof.models.history import History
from cacheproof.models.verdict import Property
from cacheproof.reports.findings import finding_words
from cacheproof.reports.words import names_of

_TIMELINE = Path(__file__).parents[2] / "models" / "timeline.py"


@pytest.fixture(scope="session")
def draw() -> Callable[..., History]:
    """Reads a history from a drawing (see tests/models/timeline.py)."""
    name = "cacheproof_tests_models_timeline"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, _TIMELINE)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    reader: Callable[..., History] = sys.modules[name].draw
    return reader


@pytest.fixture(scope="session")
def told() -> Callable[[Property, History], str]:
    """What is said of the first finding of a property."""

    def tell(judge: Property, history: History) -> str:
        return finding_words(judge.check(history).findings[0], names_of(history), history)

    return tell
