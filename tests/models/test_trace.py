"""An exchange means what its server, verb, reply and operation make of it."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from cacheproof.models.event import Exchanged
from cacheproof.models.history import History
from cacheproof.models.trace import (
    REPLICA_MARK,
    Step,
    acknowledges,
    acquires,
    commands,
    delivers,
    error_of,
    is_on_replica,
    locks,
    mentioned,
    operation_at,
    pops,
    publishes,
    releases,
    steps,
    targets,
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
    """Lost, erroneous and refused requests change nothing; a lost reply does not undo anything."""
    assert step(act, line).took_effect is effect


@pytest.mark.parametrize(
    ("fault", "effect"),
    [
        ("partition cache A silent", False),
        ("partition cache A requests", False),
        ("partition cache A replies", True),
        ("partition cache B silent", True),
        ("partition database A silent", True),
        ("freeze cache", False),
        ("freeze cache\nthaw cache", True),
    ],
)
def test_what_is_kept_back_has_no_effect_yet(fault: str, effect: bool, act: Act) -> None:
    """A request that waits: a fault keeps it from its server; without one, the server is at work on it."""
    (waits,) = steps(act(f"{fault}\nA write v2\nA DEL waits"), "k")
    assert waits.took_effect is effect
    assert waits.kept_back is not effect


def test_what_had_to_wait_belongs_to_who_sent_it(act: Act) -> None:
    """Its operation may be over by then, and another one open; of two of the same, each goes with its fate."""
    script = "A write v2\nA UPDATE v2 delayed waits\nA UPDATE v2 waits\nA UPDATE v2 late\nA ok\nA read\n"
    first, second, third, fourth = steps(act(script + "A UPDATE v2 delayed late"), "k")
    assert [step.sent for step in (first, second, third, fourth)] == [1, 2, 2, 1]
    assert fourth.operation == first.operation and fourth.operation and fourth.operation.f == "write"


def test_what_arrives_late_may_have_been_sent_in_time(act: Act) -> None:
    """A fault kept it back, and its client left: then it is late.  What nobody saw being sent, has no sender."""
    sent, late = steps(act("A write v2\nA DEL waits\nA ok\nA DEL delayed late"), "k")
    assert (late.sent, late.operation) == (1, sent.operation)
    (late,) = steps(act("A write v2\nA ok\nA DEL delayed late"), "k")
    assert (late.sent, late.sent_at, late.operation) == (2, None, None)


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
    ("line", "found"),
    [
        ("GET -> v1", True),
        ("GET -> nil", False),
        ("GET -> error-wrongtype", False),
        ("GET -> v1 reply-lost", False),
        ("HGETALL -> {}", False),
        ('HGETALL -> {"value":"v1"}', True),
        ("HMGET -> [null,null]", False),
        ('HMGET -> ["v1",null]', True),
        ("GET+TTL -> [null,2]", False),
        ('GET+TTL -> ["v1",3]', True),
        ("SELECT -> v1", True),
        ("SELECT -> nil", False),
        ("SELECT -> error", False),
        ("SELECT reply-lost", False),
        ("SET v1", False),
    ],
)
def test_a_look_has_found_something_or_not(line: str, found: bool, act: Act) -> None:
    """A miss is nil, an empty collection, one of nothing but nil, or no row."""
    assert step(act, line).found is found


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        ("SET v1 x NX -> nil", True),
        ("SET v1 x NX", False),
        ("SET v1 x NX lost", False),
        ("SET v1 -> nil", False),
    ],
)
def test_a_condition_was_refused(line: str, refused: bool, act: Act) -> None:
    """Only the server can say so."""
    assert step(act, line).refused is refused


def test_who_works_in_the_background(act: Act) -> None:
    """Workers, and what is part of no operation."""
    for f, expected in (("work", True), ("read", False)):
        assert step(act, "GET", f).by_worker is expected
    (outside,) = steps(act("A GET"), "k")
    assert outside.by_worker and not outside.scripted and step(act, "EVAL any").scripted


def test_replies_show_values(act: Act) -> None:
    """As words, like requests."""
    assert step(act, "GET -> v1").shows("v1") and not step(act, "GET -> v12").shows("v1")


def first(act: Act, line: str) -> Exchanged:
    return act(f"A work\nA {line}").exchanges[0]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("DEL", ({"k"}, False, True, False)),
        ("DEL -> 0", ({"k"}, False, False, False)),
        ("DEL lost", ({"k"}, False, False, False)),
        ("DEL -> error", ({"k"}, False, False, False)),
        ("UNLINK #a b", ({"a", "b"}, False, True, False)),
        ("SET #lock t NX EX 5", ({"lock"}, True, False, False)),
        ("SETNX #lock t", ({"lock"}, True, False, False)),
        ("SET v1 EX 5", ({"k"}, False, False, False)),
        ("SET NX", ({"k"}, False, False, False)),
        ("EVAL #script 2 a b c", ({"a", "b"}, False, True, False)),
        ("EVAL #script any a", (set(), False, True, False)),
        ("EVAL #script", (set(), False, True, False)),
        ("SET+XADD #a v", ({"a"}, False, False, True)),
        ("PUBLISH #channel v", ({"channel"}, False, False, True)),
        ("PUBLISH #channel v lost", ({"channel"}, False, False, False)),
        ("SELECT -> v1", (set(), False, False, False)),
    ],
)
def test_commands(line: str, expected: tuple[set[str], bool, bool, bool], act: Act) -> None:
    """What is addressed; whether it acquires, releases, publishes."""
    exchange = first(act, line)
    assert (set(targets(exchange)), acquires(exchange), releases(exchange), publishes(exchange)) == expected


def test_the_commands_of_a_transaction(act: Act) -> None:
    """Each in words, with its verb first; SQL has none."""
    assert commands(first(act, "SET+XADD v1")) == (("SET", "k", "v1"), ("XADD", "k", "v1"))
    assert commands(first(act, "UPDATE v1")) == ()


def test_errors(act: Act) -> None:
    """What the server said, or nothing."""
    assert error_of(first(act, "SET v1 -> error-oom")) == "oom"
    assert error_of(first(act, "UPDATE v1 -> error 23514 no")) == "23514 no"
    assert error_of(first(act, "GET -> v1")) is None and error_of(first(act, "GET lost")) is None


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("A SET #l:k t NX EX 5", {"l:k"}),
        ("A SETNX #l:k t", {"l:k"}),
        ("A SET #l:k t NX EX 5\nA GET #l:k", set()),
        ("A SET #l:k t NX EX 5\nA SET #l:k v1", set()),
        ("A SET #lock:k t NX EX 5\nA GET #lock:k", {"lock:k"}),
        ("A SET #k:Mutex t NX EX 5\nA GET #k:Mutex", {"k:Mutex"}),
        ("A SET #block:k t NX EX 5\nA GET #block:k", set()),
        ("A SET #lock:k t\nA DEL #lock:k", set()),
    ],
)
def test_locks(script: str, found: set[str], act: Act) -> None:
    """Set with NX, and called a lock or used for nothing else."""
    assert locks(act(script)) == found


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
