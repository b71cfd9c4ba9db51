"""Who may import whom, and what no module may do: pinned by reading the syntax tree of every file.

    models    nothing of ours; no input or output, no clock, no threads, no chance
    chaos     models
    patterns  models: a textbook page leans on nothing else, not even on another page
    harness   chaos, models
    reports   models

Only the two faces, harness/cli.py and harness/plugin.py, see everything.  Each rule is a function from a file to
what breaks it; it is tried on planted files first, and then on all of ours.
"""

import ast
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("chaos", "harness", "models", "patterns", "reports")
FACES = ("harness/cli.py", "harness/plugin.py")

OURS: Mapping[str, frozenset[str]] = {
    "models": frozenset({"models"}),
    "chaos": frozenset({"chaos", "models"}),
    "patterns": frozenset({"models"}),
    "harness": frozenset({"harness", "chaos", "models"}),
    "reports": frozenset({"reports", "models"}),
}
"""The folders that the files of each folder may import."""

THEIRS: Mapping[str, frozenset[str]] = {
    "models": frozenset({"msgspec", "numpy"}),  # histories of millions of operations, in columns
    "chaos": frozenset({"docker"}),
    "patterns": frozenset({"psycopg", "redis"}),
    "harness": frozenset({"hypothesis", "rich"}),
    "reports": frozenset({"rich"}),
}
"""The packages from elsewhere that the files of each folder may import."""

FACES_THEIRS = frozenset({"click", "hypothesis", "pytest", "rich"})

IMPURE = frozenset(
    [
        "_thread",
        "asyncio",
        "concurrent",
        "contextvars",
        "ctypes",
        "datetime",
        "fcntl",
        "http",
        "io",
        "logging",
    ]
    + [
        "mmap",
        "multiprocessing",
        "os",
        "pathlib",
        "queue",
        "random",
        "secrets",
        "select",
        "selectors",
        "shutil",
    ]
    + [
        "signal",
        "socket",
        "sqlite3",
        "ssl",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "urllib",
        "uuid",
    ]
)
"""Modules of the standard library with which a pure function would stop being one."""

PICKLES = frozenset({"cPickle", "cloudpickle", "dill", "marshal", "pickle", "shelve"})
FORBIDDEN_CALLS = frozenset({"breakpoint", "eval", "exec", "print"})
NO_ALL = {
    "chaos/servers/supervisor.py": "a program of its own, run without site packages and imported by nobody"
}
VAGUE_NAMES = frozenset({"common", "helper", "helpers", "misc", "util", "utils"})


@dataclass(frozen=True)
class Source:
    """One file: its path below the root, and its syntax tree."""

    path: str
    tree: ast.Module

    @property
    def folder(self) -> str:
        return self.path.partition("/")[0]

    @property
    def is_init(self) -> bool:
        return self.path.endswith("__init__.py")


@cache
def sources(*folders: str) -> tuple[Source, ...]:
    """Every file of these folders of the repository, none of which is empty of files."""
    found = []
    for folder in folders:
        paths = sorted((ROOT / folder).rglob("*.py"))
        assert paths, f"{folder}/ holds no Python files"
        found += [
            Source(path.relative_to(ROOT).as_posix(), ast.parse(path.read_text("utf-8"))) for path in paths
        ]
    return tuple(found)


def planted(path: str, text: str) -> Source:
    """A file that is not there, to see whether a rule would notice it."""
    return Source(path, ast.parse(text))


def imported(source: Source) -> Iterator[str]:
    """The dotted name of everything that a file imports, anywhere in it, with the names after `from`."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


# The rules


def breaks_direction(source: Source) -> Iterator[str]:
    """Imports of ours that the table forbids."""
    if source.path in FACES:
        return
    for name in imported(source):
        package, _, rest = name.partition(".")
        if package == "cacheproof" and rest.partition(".")[0] not in OURS[source.folder]:
            yield f"{source.path} imports {name}"


def breaks_dependencies(source: Source) -> Iterator[str]:
    """Imports of packages that the folder does not need."""
    allowed = FACES_THEIRS if source.path in FACES else THEIRS[source.folder]
    for name in imported(source):
        package = name.partition(".")[0]
        if package not in sys.stdlib_module_names | allowed | {"cacheproof"}:
            yield f"{source.path} imports {name}"


def breaks_purity(source: Source) -> Iterator[str]:
    """Imports and calls in models that reach out into the world."""
    if source.folder != "models":
        return
    yield from (
        f"{source.path} imports {name}" for name in imported(source) if name.partition(".")[0] in IMPURE
    )
    yield from (f"{source.path} calls open" for name in called(source) if name == "open")


def breaks_absoluteness(source: Source) -> Iterator[str]:
    """Relative imports, and imports of a folder by its bare name, which make a second copy of every class."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield f"{source.path} imports relatively: {ast.unparse(node)}"
    for name in imported(source):
        if name.partition(".")[0] in FOLDERS:
            yield f"{source.path} imports {name}; the name begins with cacheproof."


def called(source: Source) -> Iterator[str]:
    """The names of the functions that a file calls by their bare name."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id


def breaks_safety(source: Source) -> Iterator[str]:
    """Printing, running text as code, and formats that run code when they are read."""
    yield from (f"{source.path} calls {name}" for name in called(source) if name in FORBIDDEN_CALLS)
    yield from (
        f"{source.path} imports {name}" for name in imported(source) if name.partition(".")[0] in PICKLES
    )


def breaks_init(source: Source) -> Iterator[str]:
    """Anything in a package's `__init__` that is no docstring, import, or `__all__`."""
    if not source.is_init:
        return
    for position, node in enumerate(source.tree.body):
        docstring = position == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not (docstring or isinstance(node, ast.Import | ast.ImportFrom) or declares_all(node)):
            yield f"{source.path}:{node.lineno} is no list: {ast.unparse(node).splitlines()[0]}"


def breaks_all(source: Source) -> Iterator[str]:
    """A module without `__all__`, or with names in it that it does not define."""
    names = exported(source)
    if names is None:
        if not source.is_init and source.path not in NO_ALL:
            yield f"{source.path} has no __all__"
        return
    yield from (
        f"{source.path} has no {name!r}, which is in its __all__" for name in names - defined(source.tree)
    )


def breaks_naming(source: Source) -> Iterator[str]:
    """Names that say nothing of what is inside."""
    for part in Path(source.path).with_suffix("").parts:
        if part in VAGUE_NAMES:
            yield f"{source.path}: name it by the one concept that it holds"


def declares_all(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]


def exported(source: Source) -> frozenset[str] | None:
    """The names in `__all__`; None if there is none."""
    lists = [node.value for node in source.tree.body if isinstance(node, ast.Assign) and declares_all(node)]
    return frozenset(ast.literal_eval(lists[0])) if lists else None


def defined(tree: ast.Module) -> frozenset[str]:
    """The names that a module binds at its top level."""
    return frozenset(name for node in tree.body for name in bound(node))


def bound(node: ast.AST) -> Iterator[str]:
    """The names that a statement binds in its own scope, branches included."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in names)
        case ast.Name(id=name, ctx=ast.Store()):
            yield name
        case _:
            for child in ast.iter_child_nodes(node):
                yield from bound(child)


Rule = Callable[[Source], Iterator[str]]

BROKEN: tuple[tuple[Rule, str, str], ...] = (
    (breaks_direction, "models/x.py", "from cacheproof.chaos.clock import RunClock"),
    (breaks_direction, "models/x.py", "import cacheproof.harness"),
    (breaks_direction, "chaos/wire/x.py", "from cacheproof.harness.world import World"),
    (breaks_direction, "patterns/x.py", "from cacheproof.patterns.cache_aside import CacheAside"),
    (breaks_direction, "patterns/x.py", "from cacheproof import CACHE_ASIDE"),
    (breaks_direction, "harness/x.py", "from cacheproof import reports"),
    (breaks_direction, "harness/x.py", "def f():\n    from cacheproof.patterns import cache_aside"),
    (breaks_direction, "reports/x.py", "from cacheproof.harness.store import FailureStore"),
    (breaks_dependencies, "models/x.py", "import rich"),
    (breaks_dependencies, "patterns/x.py", "from hypothesis import given"),
    (breaks_dependencies, "harness/cli.py", "import redis"),
    (breaks_purity, "models/x.py", "import time"),
    (breaks_purity, "models/x.py", "from os.path import join"),
    (breaks_purity, "models/x.py", "text = open('x').read()"),
    (breaks_absoluteness, "models/x.py", "from .history import History"),
    (breaks_absoluteness, "tests/models/test_x.py", "from models.history import History"),
    (breaks_absoluteness, "tests/models/test_x.py", "import chaos"),
    (breaks_safety, "harness/x.py", "print('here')"),
    (breaks_safety, "harness/x.py", "value = eval(text)"),
    (breaks_safety, "harness/x.py", "from pickle import loads"),
    (breaks_init, "models/__init__.py", '"""Words."""\nLIMIT = 3'),
    (breaks_init, "models/__init__.py", "def f(): ..."),
    (breaks_all, "models/x.py", "def f(): ..."),
    (breaks_all, "models/x.py", "__all__ = ['f', 'g']\ndef f():\n    g = 1"),
    (breaks_naming, "models/utils.py", ""),
    (breaks_naming, "chaos/common/x.py", ""),
)

SOUND: tuple[tuple[Rule, str, str], ...] = (
    (breaks_direction, "harness/cli.py", "from cacheproof.reports.matrix import render_matrix"),
    (breaks_direction, "chaos/x.py", "from cacheproof.models.errors import CacheError"),
    (breaks_direction, "harness/x.py", "from cacheproof import chaos"),
    (breaks_dependencies, "harness/plugin.py", "import pytest"),
    (breaks_dependencies, "chaos/x.py", "import os.path, socket"),
    (breaks_purity, "chaos/x.py", "import time"),
    (breaks_absoluteness, "models/x.py", "import cacheproof.models.history"),
    (breaks_safety, "harness/x.py", "console.print('here')"),
    (
        breaks_init,
        "models/__init__.py",
        '"""Words."""\nfrom cacheproof.models.zones import Z\n__all__ = ["Z"]',
    ),
    (breaks_all, "models/x.py", "__all__ = ['A', 'b', 'c']\nA: int = 1\nif A:\n    import b\nc, _ = 1, 2"),
    (breaks_all, "models/__init__.py", '"""Words."""'),
    (breaks_naming, "models/errors.py", ""),
)


@pytest.mark.parametrize(("rule", "path", "text"), BROKEN)
def test_a_rule_notices_what_breaks_it(rule: Rule, path: str, text: str) -> None:
    """Each rule finds a file that was written to break it."""
    assert list(rule(planted(path, text)))


@pytest.mark.parametrize(("rule", "path", "text"), SOUND)
def test_a_rule_leaves_alone_what_keeps_it(rule: Rule, path: str, text: str) -> None:
    """No rule finds anything in a file that keeps it."""
    assert not list(rule(planted(path, text)))


def broken(rule: Rule, *folders: str) -> list[str]:
    return [words for source in sources(*folders) for words in rule(source)]


@pytest.mark.parametrize(
    "rule",
    [
        breaks_direction,
        breaks_dependencies,
        breaks_purity,
        breaks_safety,
        breaks_init,
        breaks_all,
        breaks_naming,
    ],
)
def test_our_files_keep_the_rule(rule: Rule) -> None:
    """No file of the five folders breaks the rule."""
    found = broken(rule, *FOLDERS)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("rule", [breaks_absoluteness, breaks_naming])
def test_everything_keeps_the_rule(rule: Rule) -> None:
    """No file at all, tests and examples included, imports relatively or bare, or has a vague name."""
    found = broken(rule, *FOLDERS, "examples", "tests")
    assert not found, "\n".join(found)


def test_the_public_face_prints_and_runs_nothing() -> None:
    """`import cacheproof` has no side effects of the kinds that the five folders avoid."""
    face = Source(
        "src/cacheproof/__init__.py", ast.parse((ROOT / "src/cacheproof/__init__.py").read_text("utf-8"))
    )
    assert [*breaks_safety(face), *breaks_absoluteness(face)] == []


def test_what_others_import_is_exported() -> None:
    """A name that one module imports from another is in the `__all__` of the other."""
    modules = {
        f"cacheproof.{item.path.removesuffix('.py').replace('/', '.')}": item for item in sources(*FOLDERS)
    }
    hidden = []
    for source in sources(*FOLDERS):
        for name in imported(source):
            module, _, imports = name.rpartition(".")
            if module in modules and imports not in (exported(modules[module]) or frozenset()):
                hidden.append(f"{source.path} imports {imports} from {module}, which does not export it")
    assert not hidden, "\n".join(hidden)


def test_every_exception_is_a_file() -> None:
    """The exceptions in these rules are files that exist."""
    assert [path for path in (*FACES, *NO_ALL) if not (ROOT / path).is_file()] == []
