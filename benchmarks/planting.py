"""Planting bugs: a page of patterns/ with a small change, as a module of its own.

    bug.page    "cache_aside:CacheAside"       whose source is changed, and the class that is then tested
    bug.old     stands in it exactly once      bug.new stands in its place

Rule 1. A change that does not apply exactly once is an error: the page has changed, and the bug with it.
Rule 2. The changed source is written to a file of its own, named after page and bug.  So tracebacks show what ran,
        and a process that does not fork from this one can import it.
Rule 3. Nothing else is changed.  The contract is that of the sound page, and what a bug breaks is kept by it.
"""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from cacheproof.models.contract import Condition, Contract, Guarantee

__all__ = ["Bug", "changed_source", "contract_of", "guarantee_of", "plant", "source_of", "write_changed"]


@dataclass(frozen=True, slots=True)
class Bug:
    """A small change to a sound pattern, and what must come of it.

    `name` says what somebody did, `what` how it happens, in a line.  `breaks` is the id of a guarantee that the
    page keeps under `condition`; with the change it is broken by `anomaly`, a name of the encyclopaedia, in the
    schedule that `script` tells in the language of tests/harness/script.py, among `clients` clients with `keys`
    records.  `workers` is how many there are, if not as many as the contract says.
    """

    name: str
    what: str
    page: str
    old: str
    new: str
    breaks: str
    condition: Condition
    anomaly: str
    script: str
    clients: int = 2
    keys: int = 1
    workers: int | None = None

    @property
    def module(self) -> str:
        """The module below cacheproof.patterns that is changed."""
        return self.page.partition(":")[0]

    @property
    def class_name(self) -> str:
        return self.page.partition(":")[2]


def source_of(bug: Bug) -> Path:
    """The file of the page."""
    return Path(_page(bug).__file__ or "")


def changed_source(bug: Bug) -> str:
    """The source of the page with the change.  Raises ValueError if it does not apply exactly once."""
    source = source_of(bug).read_text()
    if (count := source.count(bug.old)) != 1:
        raise ValueError(
            f"the change of {bug.name!r} applies {count} times to {bug.module}.py, not once; write `old` anew"
        )
    return source.replace(bug.old, bug.new)


def write_changed(bug: Bug, folder: Path) -> Path:
    """The path of a new file in `folder` with the changed source."""
    path = folder / f"{bug.module}__{bug.name.replace('-', '_')}.py"
    path.write_text(changed_source(bug))
    return path


def plant(bug: Bug, folder: Path) -> type[Any]:
    """The class of the page with the bug; its source is written to a file in `folder`."""
    path = write_changed(bug, folder)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    found: type[Any] = getattr(module, bug.class_name)
    return found


def contract_of(bug: Bug) -> Contract:
    """The contract of the page that has the guarantee: what the first such name in capitals makes.

    Raises ValueError if there is none.
    """
    module = _page(bug)
    factories = (make for name, make in vars(module).items() if name.isupper() and _makes_contracts(make))
    made: Iterator[Contract] = (make() for make in factories)
    found = next((item for item in made if bug.breaks in {promise.id for promise in item.guarantees}), None)
    if found is None:
        raise ValueError(f"no contract of {bug.module}.py has {bug.breaks!r}, which {bug.name!r} breaks")
    return found if bug.workers is None else replace(found, workers=bug.workers)


def _makes_contracts(found: object) -> bool:
    return inspect.isfunction(found) and inspect.signature(found).return_annotation is Contract


def guarantee_of(bug: Bug) -> Guarantee:
    """The guarantee that the bug breaks.  Raises ValueError if the page does not keep it under the condition."""
    (found,) = contract_of(bug).only([bug.breaks]).guarantees
    if bug.condition not in found.kept:
        raise ValueError(f"{bug.module}.py does not keep {bug.breaks} under {bug.condition.value!r}")
    return found


def _page(bug: Bug) -> ModuleType:
    return importlib.import_module(f"cacheproof.patterns.{bug.module}")
