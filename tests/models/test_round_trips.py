"""An operation makes no more exchanges than it may, and what it made is counted."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.errors import UsageError
from cacheproof.models.event import Event, Exchanged, Faulted, Invoked, Returned
from cacheproof.models.history import History
from cacheproof.models.operation import Outcome
from cacheproof.models.round_trips import RoundTrips, Spread, round_trips, spreads
from cacheproof.models.verdict import Verdict

Act = Callable[..., History]

# -- the definition, counted event by event ----------------------------------------------------------------


def by_definition(history: History, bound: int, server: ServerName | None) -> tuple[Any, int, bool]:
    """({invoked: exchanges} of the writes above the bound, how many were judged, whether there is a doubt)."""
    counted: dict[int, list[int]] = {}
    asked: dict[int, int] = {}
    at_work: dict[int, Invoked] = {}
    known: set[int] = set()
    background: set[int] = set()
    done: list[Invoked] = []
    for event in history.events:
        if isinstance(event, Invoked):
            at_work[event.process] = event
            counted[event.index], asked[event.process] = [], 0
            known.add(event.process)
        elif isinstance(event, Returned):
            call = at_work.pop(event.process)
            done += [call] if event.outcome is Outcome.OK else []
        elif isinstance(event, Faulted) and event.process is not None:
            known.discard(event.process)
        elif isinstance(event, Exchanged):
            if event.process not in at_work:
                background |= {event.process} & known
            elif event.waits:
                asked[event.process] += 1
            elif event.waited and not asked[event.process]:
                continue
            else:
                asked[event.process] -= event.waited
                if event.fate is Fate.DELIVERED and server in (None, event.server):
                    counted[at_work[event.process].index].append(event.index)
    writes = [call for call in done if call.f == "write"]
    above = {call.index: counted[call.index] for call in writes if len(counted[call.index]) > bound}
    certain = {
        index: made
        for index, made in above.items()
        if next(call.process for call in writes if call.index == index) not in background
    }
    return certain, len(writes) - len(above) + len(certain), len(certain) < len(above)


def random_history(chance: random.Random) -> History:
    """Two clients that write and read, with a few exchanges each; seldom something goes on in between."""
    events: list[Event] = []
    busy: set[int] = set()
    for _ in range(chance.randint(3, 20)):
        stamp, process, roll = (len(events), 0.0), chance.randint(0, 1), chance.random()
        if process in busy and roll < 0.7:
            server = chance.choice(list(ServerName))
            fate = chance.choice((Fate.DELIVERED,) * 4 + (Fate.REPLY_LOST,))
            flags = chance.choice(((False, False),) * 4 + ((True, False), (False, True)))
            events.append(Exchanged(*stamp, process, server, "X", ("X", server), (), None, fate, *flags))
        elif process in busy:
            outcome = chance.choice((Outcome.OK, Outcome.OK, Outcome.OK, Outcome.FAIL))
            events.append(Returned(*stamp, process, outcome, None))
            busy.discard(process)
        elif roll < 0.15:
            events.append(Exchanged(*stamp, process, ServerName.CACHE, "X", ("X",), (), None))
        elif roll < 0.2:
            events.append(Faulted(*stamp, chance.choice(("crash", "restart")), process))
        else:
            events.append(Invoked(*stamp, process, chance.choice(("write", "write", "read")), "k", "v"))
            busy.add(process)
    return History({"k": "v0"}, tuple(events), 2)


def test_it_is_the_definition() -> None:
    """Counted event by event; the request that waits is one of any kind here, so servers alone tell them."""
    chance = random.Random(3)
    refuted = upheld = unknown = 0
    for number in range(12_000):
        history = random_history(chance)
        server = (None, ServerName.CACHE, ServerName.DATABASE)[number % 3]
        if _mixes_waits(history):
            continue
        judgement = RoundTrips(1, "write", server).check(history)
        got = {f.culprit.invoked: list(f.at) for f in judgement.findings if f.culprit}
        expected = by_definition(history, 1, server)
        assert (got, judgement.judged, judgement.unknown is not None) == expected, history.to_jsonl()
        assert all(finding.found == len(finding.at) for finding in judgement.findings)
        refuted += judgement.verdict is Verdict.REFUTED
        upheld += judgement.verdict is Verdict.UPHELD
        unknown += judgement.verdict is Verdict.UNKNOWN
    assert min(refuted, upheld) > 500 and unknown > 100 and refuted + upheld + unknown > 5_000


def _mixes_waits(history: History) -> bool:
    """Whether a client waits for both servers at once: the count above keeps no books by request."""
    waits = [event for event in history.exchanges if event.waits or event.waited]
    return len({(event.process, event.server) for event in waits}) > len({event.process for event in waits})


# -- examples ----------------------------------------------------------------------------------------------


def test_a_costly_write_is_found(act: Act) -> None:
    """With its exchanges, how many there were, and how many are allowed."""
    history = act("A read\nA GET -> v1\nA ok v1\nA write v2\nA UPDATE v2\nA commits v2\nA DEL\nA ok")
    (finding,) = RoundTrips(1, "write").check(history).findings
    assert (finding.property, finding.kind, finding.key) == ("round-trips", "too-many-round-trips", "k")
    assert finding.culprit == history.operations[1] and finding.at == (4, 6)
    assert (finding.found, finding.allowed) == (2, (None, 1))
    (database,) = RoundTrips(0, "write", "database").check(history).findings
    assert database.at == (4,)


NEAR_MISSES = {
    "as many as allowed": "A write v2\nA UPDATE v2\nA DEL\nA ok",
    "a transaction of several commands": "A write v2\nA UPDATE v2\nA SET+XADD v2\nA ok",
    "another method": "A read\nA GET -> nil\nA SELECT -> v1\nA SET v1\nA ok v1",
    "another client": "A write v2\nA UPDATE v2\nB GET -> v1\nA DEL\nB GET -> v1\nA ok",
    "it did not return ok": "A write v2\nA UPDATE v2\nA DEL\nA DEL\nA info",
    "a lost request and its repetition": "A write v2\nA UPDATE v2\nA DEL lost\nA DEL\nA ok",
    "before and after it": "A GET -> v1\nA GET -> v1\nA write v2\nA UPDATE v2\nA DEL\nA ok",
    "it waits and is answered": "A write v2\nA UPDATE v2 waits\nA DEL\nA ok",
}


@pytest.mark.parametrize("title", NEAR_MISSES)
def test_near_misses_are_not_flagged(title: str, act: Act) -> None:
    """Delivered exchanges of ok operations of this method, by the same client, while it was open."""
    judgement = RoundTrips(2, "write").check(act(NEAR_MISSES[title]))
    assert judgement.findings == () and judgement.unknown is None


def waiting(*flags: tuple[bool, bool]) -> History:
    """A write with one exchange for each (waits, waited)."""
    made = [
        Exchanged(n, 0.0, 0, ServerName.DATABASE, "UPDATE", ("UPDATE",), (), None, Fate.DELIVERED, *flag)
        for n, flag in enumerate(flags, start=1)
    ]
    call, end = Invoked(0, 0.0, 0, "write", "k", "v2"), Returned(len(made) + 1, 0.0, 0, Outcome.OK, "v2")
    return History({"k": "v1"}, (call, *made, end), 1)


def test_a_request_that_has_to_wait_counts_once() -> None:
    """At its reply; not if the reply never comes, nor if the request was made before."""
    for history, at in (
        (waiting((True, False), (False, True)), (2,)),
        (waiting((True, False)), ()),
        (waiting((False, True)), ()),
    ):
        assert tuple(item.index for item in round_trips(history, history.operations[0])) == at


def test_an_open_operation_counts_to_the_end(act: Act) -> None:
    """`round_trips` tells what it has made up to now."""
    history = act("A write v2\nA UPDATE v2\nA DEL")
    assert [item.verb for item in round_trips(history, history.operations[0], "cache")] == ["DEL"]


def test_a_client_that_is_busy_in_the_background_leaves_a_doubt(act: Act) -> None:
    """Above the bound only: what is within it is within it in any case."""
    script = "A read\nA GET -> v1\nA ok v1\nA SELECT -> v1\nA read\nA GET -> v1\n"
    within = RoundTrips(1, "read").check(act(script + "A ok v1"))
    assert within.verdict is Verdict.UPHELD and within.judged == 2
    above = RoundTrips(1, "read").check(act(script + "A SELECT -> v1\nA ok v1"))
    assert above.verdict is Verdict.UNKNOWN and above.judged == 1
    assert above.unknown == "read made 2 exchanges, but its client also makes some in the background"


def test_what_a_client_says_as_it_starts_is_no_background(act: Act) -> None:
    """Before its first operation, and before the first after a restart."""
    script = "A GET\nA read\nA GET\nA ok v1\nA crash\nA restart\nA GET\nA read\nA GET\nA SELECT\nA ok v1"
    assert len(RoundTrips(1, "read").check(act(script)).findings) == 1


def test_the_spread_of_round_trips(act: Act) -> None:
    """Fewest, median and most, for each method, over all histories; by server if asked."""
    script = "A read\nA GET -> v1\nA ok v1\nA read\nA GET\nA SELECT -> v1\nA SET v1\nA ok v1\nA write v2\n"
    histories = [act(script + "A UPDATE v2\nA DEL\nA ok"), act("A read\nA info\nA read\nA GET\nA ok v1")]
    assert spreads(histories) == {"read": Spread(3, 1, 1, 3), "write": Spread(1, 2, 2, 2)}
    assert list(spreads(histories)) == ["read", "write"]
    database = spreads(histories, ServerName.DATABASE)
    assert database == {"read": Spread(3, 0, 0, 1), "write": Spread(1, 1, 1, 1)}
    assert spreads([]) == {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((-1, "read"), "at most -1 round trips; write a whole number"),
        ((1.5, "read"), "at most 1.5 round trips"),
        ((True, "read"), "at most True round trips"),
        ((1, ""), "round trips of ''; write the name of a method"),
        ((1, 7), "round trips of 7"),
        ((1, "read", "disk"), "round trips with 'disk'; write one of cache, database"),
    ],
)
def test_anything_else_is_refused(fields: Any, message: str) -> None:
    """UsageError, with what to write instead."""
    with pytest.raises(UsageError, match=message):
        RoundTrips(*fields)


def test_it_needs_no_final_read() -> None:
    """And is exercised by ok operations of the method alone."""
    assert (RoundTrips(1, "read").name, RoundTrips(1, "read").probes_s) == ("round-trips", ())
    assert RoundTrips(1, "read").check(History({})).verdict is Verdict.NOT_EXERCISED
