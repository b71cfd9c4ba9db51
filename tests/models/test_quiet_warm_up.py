"""A warm-up, and shadow traffic, writes nothing to the database."""

import random
from collections.abc import Callable

import pytest

from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.event import Committed, Event, Exchanged, Invoked, Returned
from cacheproof.models.history import History
from cacheproof.models.operation import Outcome, Value
from cacheproof.models.quiet_warm_up import QuietWarmUp, is_quiet
from cacheproof.models.verdict import Verdict

Act = Callable[..., History]
QUIET = ("warm_up", "shadow_read")
WRITING = ("UPDATE", "INSERT", "DELETE", "MERGE", "TRUNCATE")
OPAQUE = ("CALL", "DO", "COPY")

# -- the definition, followed event by event ---------------------------------------------------------------


def by_definition(history: History) -> tuple[dict[int, list[int]], int, bool]:
    """({invoked: exchanges that wrote}, how many operations were judged, whether one may have written)."""
    owner: dict[int, Invoked | None] = {}
    wrote: dict[int, list[int]] = {}
    opaque: set[int] = set()
    quiet = [e.index for e in history.events if isinstance(e, Invoked) and e.f in QUIET]
    plain = [e for e in history.events if isinstance(e, Invoked) and e.f in ("write", "delete")]
    behind: Exchanged | None = None
    for event in history.events:
        if isinstance(event, Committed):
            owned = any(e.key == event.key and e.value == event.value for e in plain)
            call = owner.get(behind.process) if behind else None
            mine = behind is not None and behind.server is ServerName.DATABASE
            if mine and behind and event.process == behind.process and call and call.f in QUIET and not owned:
                found = wrote.setdefault(call.index, [])
                found += [] if behind.index in found else [behind.index]
            elif behind is not None and event.process != behind.process:
                behind = None
            continue
        behind = event if isinstance(event, Exchanged) else None
        if isinstance(event, Invoked):
            owner[event.process] = event
        elif isinstance(event, Returned):
            if event.outcome is not Outcome.INFO:
                owner[event.process] = None
        elif isinstance(event, Exchanged) and event.server is ServerName.DATABASE:
            call = owner.get(event.process)
            if call is not None and call.f in QUIET:
                if event.verb in WRITING and not event.waited:
                    wrote.setdefault(call.index, []).append(event.index)
                if event.verb in OPAQUE:
                    opaque.add(call.index)
    return wrote, len(quiet), bool(opaque - wrote.keys())


def random_history(chance: random.Random) -> History:
    """Two clients that warm up, read and write, with statements of every kind, and versions at random."""
    events: list[Event] = []
    busy: dict[int, Invoked] = {}
    versions = 0
    for _ in range(chance.randint(3, 16)):
        stamp, process, roll = (len(events), 0.0), chance.randint(0, 1), chance.random()
        value: Value = chance.choice(("v1", "v2", "v3", None))
        if roll < 0.2:
            versions += 1
            events.append(Committed(*stamp, "k", value, versions, chance.choice((0, 1, None))))
        elif roll < 0.6:
            server = chance.choice((ServerName.DATABASE,) * 3 + (ServerName.CACHE,))
            verb = chance.choice(("SELECT",) * 9 + WRITING + OPAQUE)
            fate = chance.choice((Fate.DELIVERED, Fate.DELIVERED, Fate.REQUEST_LOST))
            flags = chance.choice(((False, False), (False, False), (True, False), (False, True)))
            events.append(Exchanged(*stamp, process, server, verb, (verb,), ("k",), None, fate, *flags))
        elif process in busy:
            outcome = chance.choice((Outcome.OK, Outcome.OK, Outcome.INFO))
            events.append(Returned(*stamp, process, outcome, busy.pop(process).value))
        else:
            f = chance.choice((*QUIET, *QUIET, "read", "write", "delete"))
            busy[process] = Invoked(*stamp, process, f, "k", value if f == "write" else None)
            events.append(busy[process])
    return History({"k": "v0"}, tuple(events), 2)


def test_it_is_the_definition() -> None:
    """Followed event by event: which statements were sent, and what became visible right behind them."""
    chance = random.Random(9)
    refuted = upheld = unknown = 0
    for _ in range(12_000):
        history = random_history(chance)
        judgement = QuietWarmUp().check(history)
        got = {f.culprit.invoked: list(f.at) for f in judgement.findings if f.culprit}
        expected = by_definition(history)
        assert (got, judgement.judged, judgement.unknown is not None) == expected, history.to_jsonl()
        refuted += judgement.verdict is Verdict.REFUTED
        upheld += judgement.verdict is Verdict.UPHELD
        unknown += judgement.verdict is Verdict.UNKNOWN
    assert min(refuted, upheld, unknown) > 500


# -- examples ----------------------------------------------------------------------------------------------

FOUND = {
    "an update": ("A warm_up\nA SELECT -> v1\nA UPDATE v2\nA commits v2\nA ok", (2,), ["v2"]),
    "in a transaction": ("A warm_up\nA INSERT+COMMIT v2\nA ok", (1,), []),
    "lost on its way": ("A warm_up\nA UPDATE v2 lost\nA info", (1,), []),
    "refused": ("A warm_up\nA DELETE -> error\nA fail", (1,), []),
    "after it ended in doubt": ("A warm_up\nA info\nA UPDATE v2", (2,), []),
    "shadow traffic": ("A shadow_write\nA UPDATE v2\nA ok", (1,), []),
    "by a function": ("A warm_up\nA SELECT\nA commits v7\nA ok", (1,), ["v7"]),
    "what it wrote by itself": ("A warm_up\nA SELECT\nA commits v7\nA ok\nB read\nB ok v7", (1,), ["v7"]),
    "two of them": ("A warm_up\nA UPDATE v2\nA SELECT\nA UPDATE v3\nA ok", (1, 3), []),
}


@pytest.mark.parametrize("title", FOUND)
def test_a_warm_up_that_writes_is_found(title: str, act: Act) -> None:
    """The operation, the exchanges that wrote, and what became visible."""
    script, at, values = FOUND[title]
    history = act(script)
    (finding,) = QuietWarmUp().check(history).findings
    assert (finding.property, finding.kind, finding.key) == ("quiet-warm-up", "warm-up-writes", "k")
    assert finding.culprit == history.operations[0] and finding.at == at
    assert [version.value for version in finding.versions] == values


NEAR_MISSES = {
    "it reads the database and fills the cache": "A warm_up\nA SELECT -> v1\nA SET v1\nA ok",
    "it locks what it reads": "A warm_up\nA SELECT v1 FOR UPDATE\nA COMMIT\nA ok",
    "somebody else writes": "A warm_up\nB write v2\nB UPDATE v2\nB commits v2\nA SELECT\nA ok",
    "a version of somebody else's came with its exchange": (
        "B write v2\nA warm_up\nA COMMIT\nA commits v2\nA ok"
    ),
    "a version of nobody's": "B write v2\nA warm_up\nA COMMIT\nB commits v9\nA ok",
    "before and after it": "A write v2\nA UPDATE v2\nA ok\nA warm_up\nA ok\nA write v3\nA UPDATE v3",
    "the cache has an update of its own": "A warm_up\nA FUNCTION UPDATE\nA ok",
}


@pytest.mark.parametrize("title", NEAR_MISSES)
def test_near_misses_are_not_flagged(title: str, act: Act) -> None:
    """Reads, locks, the cache, and what others did meanwhile."""
    assert QuietWarmUp().check(act(NEAR_MISSES[title])).verdict is Verdict.UPHELD


def test_the_key_is_that_of_the_statement() -> None:
    """A warm-up is for all keys."""
    call = Invoked(0, 0.0, 0, "warm_up", None, None)
    update = Exchanged(1, 0.0, 0, ServerName.DATABASE, "UPDATE", ("UPDATE",), ("b", "a"), None)
    (finding,) = QuietWarmUp().check(History({}, (call, update), 1)).findings
    assert finding.key == "b"


def test_what_cannot_be_seen_leaves_a_doubt() -> None:
    """A procedure through which nothing became visible may still have written somewhere."""
    call = Invoked(0, 0.0, 0, "warm_up", None, None)
    opaque = Exchanged(1, 0.0, 0, ServerName.DATABASE, "SELECT; CALL", ("…",), (), None)
    judgement = QuietWarmUp().check(History({}, (call, opaque), 1))
    assert judgement.verdict is Verdict.UNKNOWN
    assert judgement.unknown == "warm_up sent SELECT; CALL, which may write"


def test_only_warm_ups_and_shadow_traffic_are_judged(act: Act) -> None:
    """By the names of their methods; without any the property is not exercised."""
    history = act("A write v2\nA UPDATE v2\nA ok\nB warm_up\nB ok\nC shadow_read\nC ok")
    assert [is_quiet(operation) for operation in history.operations] == [False, True, True]
    assert QuietWarmUp().check(history).judged == 2
    assert QuietWarmUp().check(act("A write v2\nA UPDATE v2\nA ok")).verdict is Verdict.NOT_EXERCISED


def test_it_needs_no_final_read() -> None:
    """What was sent is all."""
    assert (QuietWarmUp().name, QuietWarmUp().probes_s) == ("quiet-warm-up", ())
