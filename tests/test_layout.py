"""The tests mirror the folders: models/zones.py is tested by tests/models/test_zones.py, and so on.

Where that is not so, a table says why; an entry that is no longer needed has to go.
"""

from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("chaos", "harness", "models", "patterns", "reports")
MIRRORS = ("harness", "models", "patterns", "reports", "chaos/servers", "chaos/virtualtime", "chaos/wire")
"""The folders below tests/ that hold nothing else.  tests/chaos/ also holds what `pytest -m chaos` runs."""

UNPAIRED: dict[str, str] = {}
"""Modules without a test file of their own, each with the reason.  None at present: keep it so."""

EXTRA = {
    "tests/harness/test_bad_caches.py": "caches that cannot be tested, through `verify` as a whole",
    "tests/harness/test_leftovers.py": "searches that are cut short, through `verify` and pytest as a whole",
    "tests/harness/test_workloads.py": "operations beyond reads and writes, through `verify` as a whole",
    "tests/harness/test_users_servers.py": "what servers cannot do, through moves, runs and both faces as a whole",
    "tests/chaos/wire/test_pgcycle_server.py": "pgcycle.py once more, on what a real PostgreSQL sends",
    "tests/harness/faults/test_planted.py": "a bug for every fault of the catalogue",
    "tests/harness/faults/test_fuzz.py": "all faults at once, in any order",
    "tests/patterns/test_contracts.py": "what holds for the contracts of all patterns",
}
"""Test files that mirror no module, each with the reason."""


def modules() -> list[str]:
    """The paths of all modules in the folders; the list that a package's `__init__` is needs no test."""
    found = (
        path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")
    )
    return sorted(path for path in found if not path.endswith("__init__.py"))


def mirror(module: str) -> str:
    """Where the tests of a module lie: "tests/models/test_zones.py" for "models/zones.py"."""
    path = Path(module)
    return f"tests/{path.parent.as_posix()}/test_{path.name}"


def test_every_module_has_its_test_file() -> None:
    """A module is tested by the file that mirrors it, or is in the table with a reason."""
    assert [path for path in modules() if not (ROOT / mirror(path)).is_file() and path not in UNPAIRED] == []


def test_every_test_file_mirrors_a_module() -> None:
    """A test file below a mirroring folder is that of a module which exists, or is in the table."""
    mirrors = {mirror(path) for path in modules()} | set(EXTRA)
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in MIRRORS
        for path in (ROOT / "tests" / folder).rglob("test_*.py")
    }
    assert found and sorted(found - mirrors) == []


def test_no_exception_outlives_its_need() -> None:
    """What the tables list is there, and still without its counterpart."""
    assert [path for path in UNPAIRED if path not in modules() or (ROOT / mirror(path)).exists()] == []
    assert [path for path in EXTRA if not (ROOT / path).is_file()] == []


def test_every_exception_has_a_reason() -> None:
    """An entry without words is none."""
    assert all((UNPAIRED | EXTRA).values())


def test_tests_are_no_package() -> None:
    """tests/ holds no __init__.py: files are imported by path, and their names need not differ."""
    assert list((ROOT / "tests").rglob("__init__.py")) == []
