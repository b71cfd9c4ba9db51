"""The tests mirror the folders: models/zones.py is tested by tests/models/test_zones.py, and so on.

Where that is not so, a table says why; an entry that is no longer needed has to go.
"""

from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("chaos", "harness", "models", "patterns", "reports")
MIRRORS = ("harness", "models", "patterns", "reports", "chaos/servers", "chaos/virtualtime", "chaos/wire")
"""The folders below tests/ that hold nothing else.  tests/chaos/ also holds what `pytest -m chaos` runs."""

_VALUE = "a value without behaviour"
_SOCKETS = "moves bytes between real processes: every run of the chaos tests goes through it"
_RUNS = "means something only in a run on real servers: the chaos tests rest on it"

UNPAIRED = {
    "chaos/cacheclock.py": _RUNS,
    "chaos/settling.py": _RUNS,
    "chaos/wire/cacheend.py": _SOCKETS,
    "chaos/wire/reactor.py": _SOCKETS,
    "chaos/wire/subscriptions.py": _SOCKETS,
    "chaos/wire/upstream.py": _SOCKETS,
    "chaos/wire/wire.py": _SOCKETS,
    "harness/cli.py": "is thin: each command calls one function that has its tests",
    "harness/client.py": _SOCKETS,
    "harness/crew.py": _RUNS,
    "harness/doctor.py": "looks at the machine, and says what it finds",
    "harness/environment.py": _VALUE,
    "harness/epilogue.py": _RUNS,
    "harness/evidence.py": _RUNS,
    "harness/naming.py": _RUNS,
    "harness/outcome.py": _RUNS,
    "harness/pinning.py": _RUNS,
    "harness/plugin.py": "is pytest's own: the chaos tests run through it",
    "harness/process.py": _SOCKETS,
    "harness/profiles.py": _VALUE,
    "harness/progress.py": "draws a line on a terminal, and nothing depends on it",
    "harness/proof.py": _RUNS,
    "harness/recorder.py": _RUNS,
    "harness/records.py": _RUNS,
    "harness/replay.py": _RUNS,
    "harness/runner.py": _RUNS,
    "harness/session.py": "is what the plugin remembers: the chaos tests run through it",
    "harness/snapshots.py": _RUNS,
    "harness/strategies/exhaustive.py": _RUNS,
    "harness/strategies/machine.py": _RUNS,
    "harness/strategies/moves.py": _RUNS,
    "harness/strategies/statemachine.py": _RUNS,
    "harness/verify.py": _RUNS,
    "harness/world.py": _RUNS,
    "harness/zygote.py": _SOCKETS,
}
"""Modules without a test file of their own, each with the reason."""

EXTRA = {
    "tests/chaos/wire/test_pgcycle_server.py": "pgcycle.py once more, on what a real PostgreSQL sends",
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
