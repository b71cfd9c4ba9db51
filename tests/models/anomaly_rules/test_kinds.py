"""Every kind of finding that a property can make has a general name.

The kinds are read from the syntax tree of each module in models/: what is given to `Finding` as its kind, what
is given to a function called `…finding`, and what is assigned to a variable called `kind`.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cacheproof.models.anomaly_rules.kinds import KINDS, UNKNOWN_KIND, About
from cacheproof.models.encyclopaedia import ANOMALIES

MODELS = Path(__file__).parents[3] / "models"

SPELLED_ELSEWHERE = {
    "integrity.py": {"aborted", "premature", "foreign", "fabricated", "resurrected", "uncommitted"},
    "sessions.py": {"read-your-writes", "non-monotonic-read", "non-monotonic-write", "write-before-read"},
    "zones.py": {"aborted", "fabricated", "non-linearizable", "premature", "stale-read"},
}
"""The kinds of modules that take them from a table of their own, or from what a function returned."""


def strings(node: ast.AST) -> Iterator[str]:
    """The words within an expression that can be a kind."""
    for part in ast.walk(node):
        value = part.value if isinstance(part, ast.Constant) else None
        if isinstance(value, str) and re.fullmatch(r"[a-z]+(-[a-z]+)*", value):
            yield value


def kinds_in(tree: ast.AST) -> set[str]:
    """The kinds that a module spells out where it makes findings."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called == "Finding":
                given = [word.value for word in node.keywords if word.arg == "kind"] or node.args[1:2]
            else:
                given = (
                    [arg for arg in node.args if isinstance(arg, ast.Constant)]
                    if called.endswith("finding")
                    else []
                )
            found.update(kind for value in given for kind in strings(value))
        elif isinstance(node, ast.Assign) and any(
            isinstance(n, ast.Name) and n.id == "kind" for n in node.targets
        ):
            found.update(strings(node.value))
    return found


def knows_findings(tree: ast.AST) -> bool:
    """True if the module imports `Finding`, or something that makes one."""
    names = (name.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for name in n.names)
    return any(name == "Finding" or name.endswith("finding") or name == "Scene" for name in names)


TREES = {path.name: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(MODELS.glob("*.py"))}
MAKERS = sorted(name for name, tree in TREES.items() if knows_findings(tree))


@pytest.mark.parametrize("name", MAKERS)
def test_every_kind_has_a_general_name(name: str) -> None:
    """A kind without one would be called by a name that says nothing."""
    kinds = kinds_in(TREES[name]) | SPELLED_ELSEWHERE.get(name, set())
    assert not kinds - set(KINDS)


def test_the_modules_that_make_findings_are_found() -> None:
    """The tree is read right: a few that are known are there, with what they spell out."""
    assert {"convergence.py", "durability.py", "read_after_write.py", "staleness.py"} <= set(MAKERS)
    assert kinds_in(TREES["durability.py"]) == {"lost-write"}
    assert kinds_in(
        ast.parse("Finding(n, 'a-b', k); self._finding('c', x); kind = 'd' if y else 'e'")
    ) == set("cde") | {"a-b"}
    assert kinds_in(ast.parse("Finding(n, kind='a', key=None); print('f'); other = 'g'")) == {"a"}


def test_what_is_spelled_elsewhere_is_spelled() -> None:
    """The table of exceptions names what is there."""
    for name, kinds in SPELLED_ELSEWHERE.items():
        assert kinds <= set(strings(TREES[name])), name


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_general_names_have_an_entry(kind: str) -> None:
    """Each with something that a finding can be about."""
    assert KINDS[kind].general in ANOMALIES and KINDS[kind].about in About


def test_a_kind_of_somebody_elses_making_is_about_values() -> None:
    """What is unknown is at least not in order."""
    assert UNKNOWN_KIND.general in ANOMALIES and UNKNOWN_KIND.about is About.VALUE
