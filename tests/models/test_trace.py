"""An exchange means what its server, verb, reply and operation make of it."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from cacheproof.models.history import History
from cacheproof.models.trace import (
    REPLICA_MARK,
    Step,
    acknowledges,
    delivers,
    is_on_replica,
    mentioned,
    operation_at,
    pops,
    steps,
)

Act = Callable[..., History]


def step(act: Act, line: str, f: str = "read") -> Step:
    (found,) = steps(act(f"A {f}\nA {line}"), "k")
    return found


@pytest.mark.parametrize(
    ("line", "f", "meanings"),
    [
        ("GET -> v1", "read", {"looks"}),
        ("SELECT -> v1", "read", {"looks", "loads"}),
        ("SET v1", "read", {"sets", "touches"}),
        ("SET+XADD v2", "write", {"sets", "touches"}),
        ("UNLINK", "write", {"deletes", "touches"}),
        ("EVAL fill", "read", {"sets", "touches"}),
        ("EVAL any", "write", {"sets", "deletes", "touches"}),
        ("FLUSHALL @none", "write", {"deletes", "touches"}),
        ("UPDATE v2", "write", {"changes"}),
        ("LPUSH", "write", set()),
    ],
)
def test_meanings(line: str, f: str, meanings: set[str], act: Act) -> None:
    """Verbs in tables; a script is what its operation would do; a flush concerns every key."""
    found = step(act, line, f)
    every = ("looks", "loads", "sets", "deletes", "touches", "changes")
    assert {name for name in every if getattr(found, name)} == meanings


@pytest.mark.parametrize(
    ("line", "effect"),
    [
        ("SET v1", True),
        ("SET v1 reply-lost", True),
        ("SET v1 lost", False),
        ("SET v1 -> error-oom", False),
        ("SET v1 NX", True),
        ("SET v1 NX -> nil", False),
        ("SET v1 NX reply-lost", True),
        ("GET -> nil", True),
        ("SET v1 delayed waits", False),
        ("SET v1 delayed late -> OK", True),
        ("SET v1 refused -> error-readonly", False),
    ],
)
def test_effects(line: str, effect: bool, act: Act) -> None:
    """Lost, erroneous, refused and late requests change nothing; a lost reply does not undo anything."""
    assert step(act, line).took_effect is effect


def test_values_are_found_as_words(act: Act) -> None:
    """v1 is not in v12, but in JSON."""
    assert step(act, "SET v1 EX 300").mentions("v1") and not step(act, "SET v12").mentions("v1")
    assert mentioned("v1", '["k", "v1"]') and not mentioned("v1", "v10")


def test_only_the_exchanges_of_the_key(act: Act) -> None:
    """In order, with index, time and the operation that was open."""
    history = act("A read\nA GET\nA GET @b\nadvance 3\nA SELECT\nA ok v1\nA SET v1")
    found = steps(history, "k")
    assert [(item.index, item.at_s) for item in found] == [(1, 0.0), (4, 3.0), (6, 3.0)]
    assert [item.operation and item.operation.f for item in found] == ["read", "read", None]
    assert all(item.by_reader for item in found)


def test_the_operation_of_a_process(act: Act) -> None:
    """Open from its invocation to its return; after an ambiguous end until the next invocation."""
    history = act("A write v2\nA DEL\nA info\nA DEL\nB read\nA read\nA GET\nA ok v1\nA DEL")
    names = [found and found.f for found in (operation_at(history, 0, i) for i in (0, 1, 3, 6, 8))]
    assert names == [None, "write", "write", "read", None]


@pytest.mark.parametrize(
    ("line", "popped"),
    [
        ("BRPOP @none -> v2", True),
        ("BRPOP @none -> nil", False),
        ("BRPOP @none waits", False),
        ("BRPOP @none reply-lost", True),
        ("BRPOP @none lost", False),
        ("BRPOP @none delayed waits", False),
        ("BRPOP @none delayed late -> v2", True),
        ("BRPOP @none refused -> error-loading", False),
        ("LMOVE @none -> v2", False),
        ("UPDATE v2", False),
    ],
)
def test_pops(line: str, popped: bool, act: Act) -> None:
    """An item is gone once the server gave it away, heard or not; a pop that waits has taken nothing."""
    (exchange,) = act(f"A work\nA {line}").exchanges
    assert pops(exchange) is popped


def test_streams(act: Act) -> None:
    """Entries are handed out by XREADGROUP, and gone after XACK unless it was lost."""
    read, ack, lost = act("A work\nA XREADGROUP @none\nA XACK @none\nA XACK @none lost").exchanges
    assert [delivers(item) for item in (read, ack, lost)] == [True, False, False]
    assert [acknowledges(item) for item in (read, ack, lost)] == [False, True, False]


@pytest.mark.parametrize(
    ("line", "gone"),
    [
        ("XACK @none delayed waits", False),
        ("XACK @none delayed late -> 1", True),
        ("XACK @none refused -> error-readonly", False),
        ("XACK @none reply-lost", True),
    ],
)
def test_an_entry_is_gone_once_its_acknowledgement_has_arrived(line: str, gone: bool, act: Act) -> None:
    """However late, and whether or not anybody hears of it."""
    (exchange,) = act(f"A work\nA {line}").exchanges
    assert acknowledges(exchange) is gone


def test_who_was_asked(act: Act) -> None:
    """The words of a statement tell the replica from the database; a command has no such words."""
    (exchange,) = act("A read\nA SELECT -> v1").exchanges
    replica = replace(exchange, request=(f"{REPLICA_MARK}select value", "k"))
    assert [is_on_replica(item) for item in (exchange, replica, replace(exchange, request=()))] == [
        *(False, True, False)
    ]
