"""Words for operations that admit no order, tried on what the properties find."""

from collections.abc import Callable
from types import ModuleType

import pytest

from cacheproof.models.causal import Causal, CausalConvergence, CausalMemory
from cacheproof.models.general import LinearizableAs
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome
from cacheproof.models.sequential import Sequential
from cacheproof.models.verdict import Finding, Property
from cacheproof.models.zones import Linearizable
from cacheproof.reports.findings import finding_words
from cacheproof.reports.findings.orders import ORDERS
from cacheproof.reports.findings.scene import Scene
from cacheproof.reports.words import Names

Draw = Callable[..., History]
Told = Callable[[Property, History], str]

READ = Operation(1, "read", "x", "v1", 8, 9, Outcome.OK)
WRITE = Operation(0, "write", "x", "v2", 3, 7, Outcome.OK)

DISAGREEING = """
A: |----w1@x----|
B: |----w2@x----|
C:                |-r1@x-| |-r2@x-|
D:                |-r2@x-|   |-r1@x-|
"""

FOUND: dict[str, tuple[Property, str, str]] = {
    "concurrent writes in two orders": (
        Linearizable(),
        DISAGREEING,
        (
            "No single order of the operations of x explains these together: "
            "A's write of v1, B's write of v2, C's read of v2 and D's read of v1."
        ),
    ),
    "a search that got stuck": (
        LinearizableAs("register"),
        DISAGREEING,
        "No single order of the operations of x explains D's read of v2; seen beside it: ",
    ),
    "one order of all keys": (
        Sequential(),
        """
        A: |-w1@x-|  |-w2@y-|
        B:                     |-r2@y-|  |-r0@x-|
        """,
        (
            "No single order of all operations that keeps each client's own order explains B's read of v0 on x; "
            "seen beside it: A's write of v1 on x, A's write of v2 on y and B's read of v2 on y."
        ),
    ),
    "an effect of a write that was not seen": (
        Causal(),
        """
        A: |-w1@x-|  |-w2@y-|
        B:                     |-r2@y-|  |-r0@x-|
        """,
        (
            "B's read of x returned v0, as if nothing had been written, although a write of that key had led to it: "
            "A's write of v1 on x, then A's write of v2 on y, then B's read of v2 on y, then this read."
        ),
    ),
    "an overwritten value": (
        Causal(),
        """
        A: |-w1@x-| |-w3@x-| |-w2@y-|
        B:                             |-r2@y-|  |-r1@x-|
        """,
        (
            "B's read of x returned v1, although A's write of v3 had overwritten it, as whoever read this could "
            "have known: A's write of v1 on x, then A's write of v3 on x, then A's write of v2 on y, "
            "then B's read of v2 on y, then this read."
        ),
    ),
    "an effect before its cause": (
        Causal(),
        """
        A: |-r1@x-| |-w2@y-|
        B: |-r2@y-| |-w1@x-|
        """,
        (
            "Cause and effect go in a circle, each of these before the next, and the last before the first: "
            "A's read of v1 on x, A's write of v2 on y, B's read of v2 on y and B's write of v1 on x."
        ),
    ),
    "readers that disagree": (
        CausalConvergence(),
        DISAGREEING,
        (
            "Readers disagree which of the concurrent writes of x is the newest; no one order of the writes explains "
            "these together: A's write of v1, B's write of v2, C's read of v1, D's read of v2, C's read of v2 "
            "and D's read of v1."
        ),
    ),
    "a reader without an order": (
        CausalMemory(),
        """
        A: |-w1@y-|  |-w1-|  |-w1@z-|
        B: |-w2-|                      |-r0@y-|  |-r1@z-|  |-r2-|
        """,
        "No one order explains all that B read: see A's write of v1 on y,",
    ),
}


@pytest.mark.parametrize("title", FOUND)
def test_what_properties_find_can_be_told(title: str, draw: Draw, told: Told) -> None:
    """Who did what, key by key where it matters, in an order that can be followed."""
    judge, drawing, words = FOUND[title]
    history = draw(drawing, {"k": "v0", "x": "v0", "y": "v0", "z": "v0"})
    assert told(judge, history).startswith(words)


def test_the_search_names_what_it_cannot_place(draw: Draw, told: Told) -> None:
    """And what is to be seen beside it."""
    history = draw("A: |-w1-|  |-w2-|\nB:                  |-r1-|")
    assert told(LinearizableAs("register"), history) == (
        "No single order of the operations explains B's read of v1; "
        "seen beside it: A's write of v1 and A's write of v2."
    )


@pytest.mark.parametrize(
    ("finding", "words"),
    [
        (Finding("linearizable-as", "non-linearizable", "x", READ), "of x explains B's read of v1."),
        (
            Finding("linearizable", "non-linearizable", None),
            "explains these together: all that was observed.",
        ),
        (Finding("sequential", "non-sequential", "x"), "keeps each client's own order: see all that was"),
        (Finding("sequential", "non-sequential", "x", READ), "explains B's read of v1 on x."),
        (Finding("causal", "initial-after-write", "x", READ), "although a write of that key had led to it."),
        (Finding("causal", "stale-causal-read", "x", READ), "although a newer write had overwritten it"),
        (Finding("causal", "causality-cycle", None), "before the first: these operations."),
        (Finding("causal-memory", "view-cycle", None), "No one order explains all that one client read"),
        (
            Finding("causal", "causality-violation", "x", READ, (WRITE,)),
            "Cause and effect of x do not explain these together: A's write of v2 and B's read of v1.",
        ),
    ],
)
def test_what_is_not_known_is_not_told(finding: Finding, words: str) -> None:
    """Without evidence the sentence is shorter, and still true."""
    assert words in finding_words(finding, Names())


def test_marks(stories: ModuleType) -> None:
    """A few words each; where a write was missed, its value."""
    scene = Scene(Finding("causal", "stale-causal-read", "x", READ, (WRITE,)), Names())
    assert ORDERS["stale-causal-read"].mark(scene) == "v2 had led to this"
    bare = Scene(Finding("causal", "initial-after-write", "x"), Names())
    assert ORDERS["initial-after-write"].mark(bare) == "a newer value had led to this"
    assert ORDERS["non-linearizable"].mark(bare) == "no order explains this"
