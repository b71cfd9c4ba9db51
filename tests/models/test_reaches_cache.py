"""What was acknowledged, or announced, reaches the cache: somebody there acts on it."""

import random
from collections.abc import Callable

import pytest

from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.errors import UsageError
from cacheproof.models.event import Entered, Event, Exchanged, Invoked, Phase, Returned
from cacheproof.models.history import History
from cacheproof.models.operation import Outcome
from cacheproof.models.reaches_cache import AFTER, ReachesCache
from cacheproof.models.verdict import Verdict

Act = Callable[..., History]

# -- the definition, followed event by event ---------------------------------------------------------------

SETS, SENDS = ("SET", "DEL"), ("XADD", "RPUSH")
WORKER = 2


def by_definition(history: History, after: str) -> tuple[set[int], int, bool]:
    """({writes by invocation, or events by index, that nobody acted on}, how many were judged, any doubt)."""
    events, rested = (
        history.events,
        any(isinstance(e, Entered) and e.phase is Phase.READ for e in history.events),
    )
    missing: set[int] = set()
    judged, doubt = 0, False
    for since, until, name, actors in _needs(events, after):
        judged += 1
        seen = [e for e in events[since + 1 : until] if isinstance(e, Exchanged) and e.verb in SETS]
        seen = [e for e in seen if e.process in actors and e.fate is not Fate.REQUEST_LOST]
        good = [e for e in seen if not e.waits and not isinstance(e.reply, dict)]
        if good:
            continue
        if seen or (after == "event" and not rested):
            doubt = True
        else:
            missing.add(name)
    return missing, judged, doubt


def _needs(events: tuple[Event, ...], after: str) -> list[tuple[int, int, int, tuple[int, ...]]]:
    """(from, to, name, who has to act) of each write that returned ok, or of each event that was sent."""
    found = []
    for event in events:
        if after == "event" and isinstance(event, Exchanged) and event.verb in SENDS:
            sent = (
                event.fate is not Fate.REQUEST_LOST and not event.waits and not isinstance(event.reply, dict)
            )
            found += [(event.index, len(events), event.index, (WORKER,))] if sent else []
        if after == "acknowledgement" and isinstance(event, Invoked) and event.f == "write":
            rest = [
                e for e in events[event.index :] if isinstance(e, Returned) and e.process == event.process
            ]
            if rest and rest[0].outcome is Outcome.OK:
                found.append((event.index, rest[0].index, event.index, (event.process,)))
    return found


def random_history(chance: random.Random) -> History:
    """Two clients and a worker that set, delete, announce and look, delivered or not; one key."""
    events: list[Event] = [Invoked(0, 0.0, WORKER, "work", None, None)]
    busy: dict[int, Invoked] = {}
    rest = chance.randint(3, 18)
    for _ in range(chance.randint(3, 16)):
        if len(events) == rest:
            events.append(Entered(len(events), 0.0, Phase.READ))
        index, process = len(events), chance.randint(0, WORKER)
        if chance.random() < 0.55 and (process in busy or process == WORKER):
            verb = chance.choice((*SETS, *SENDS, "GET"))
            fate = chance.choice((Fate.DELIVERED,) * 4 + (Fate.REPLY_LOST, Fate.REQUEST_LOST))
            waits = fate is Fate.DELIVERED and chance.random() < 0.1
            reply = {"error": "broken"} if fate is Fate.DELIVERED and chance.random() < 0.1 else None
            reply = None if waits else reply
            request = (verb, "k")
            events.append(
                Exchanged(index, 0.0, process, ServerName.CACHE, verb, request, ("k",), reply, fate, waits)
            )
        elif process in busy:
            outcome = chance.choice((Outcome.OK,) * 3 + (Outcome.INFO, Outcome.FAIL))
            events.append(Returned(index, 0.0, process, outcome, busy.pop(process).value))
        elif process != WORKER:
            busy[process] = Invoked(index, 0.0, process, "write", "k", f"v{index}")
            events.append(busy[process])
    return History({"k": "v0"}, tuple(events), 3, (WORKER,))


@pytest.mark.parametrize("after", AFTER)
def test_it_is_the_definition(after: str) -> None:
    """Followed event by event, on 12,000 small histories: who acted, in time, and for certain."""
    chance = random.Random(23)
    verdicts: dict[Verdict, int] = dict.fromkeys(Verdict, 0)
    for _ in range(6_000):
        history = random_history(chance)
        judgement = ReachesCache(after).check(history)
        if after == "event":
            got = {index for finding in judgement.findings for index in finding.at}
        else:
            got = {finding.culprit.invoked for finding in judgement.findings if finding.culprit}
        expected = by_definition(history, after)
        assert (got, judgement.judged, judgement.unknown is not None) == expected, history.to_jsonl()
        verdicts[judgement.verdict] += 1
    assert min(verdicts[Verdict.UPHELD], verdicts[Verdict.REFUTED]) > 250
    assert min(verdicts.values()) > 25


# -- examples ----------------------------------------------------------------------------------------------


def settled(act: Act, script: str) -> History:
    """A dialogue in which C is a worker from the start, and that comes to rest."""
    history = act(f"C work\n{script}", workers=1)
    events = (*history.events, Entered(len(history.events), 0.0, Phase.READ))
    return History(history.initial, events, history.processes, history.workers)


UNHEARD_EVENTS = {
    "nobody takes it": "A write v2\nA UPDATE v2\nA commits v2\nA XADD -> 1-0\nA ok",
    "taken along, and not given out again": (
        'A write v2\nA XADD -> 1-0\nA ok\nC XREADGROUP -> [["e",[["1-0",["key","k"]]]]]\nC crash\nC work'
    ),
    "its step never arrived": "A write v2\nA XADD -> 1-0\nA ok\nC DEL lost",
    "the step came before the event": "C DEL -> 1\nA write v2\nA XADD -> 1-0\nA ok",
    "only a reader touches the entry": "A write v2\nA XADD -> 1-0\nA ok\nB read\nB SET v1\nB ok v1",
}


@pytest.mark.parametrize("title", UNHEARD_EVENTS)
def test_an_event_that_nobody_acts_on_is_found(title: str, act: Act) -> None:
    """With the write that sent it, and the exchange that did."""
    history = settled(act, UNHEARD_EVENTS[title])
    (finding,) = ReachesCache("event").check(history).findings
    sent = next(e for e in history.exchanges if e.verb == "XADD")
    assert (finding.property, finding.kind, finding.key) == ("reaches-cache", "unheard-event", "k")
    assert finding.culprit is not None and (finding.culprit.f, finding.at) == ("write", (sent.index,))
    assert finding.because == ()


def test_a_reader_who_suffers_from_it_is_the_culprit(act: Act) -> None:
    """The first read after the event that returned what had been superseded; the write is why."""
    script = (
        "A write v2\nA UPDATE v2\nA commits v2\nA XADD -> 1-0\nA ok\nadvance 5\n"
        "B read\nB GET -> v2\nB ok v2\nB read\nB GET -> v1\nB ok v1\nB read\nB GET -> v1\nB ok v1"
    )
    history = settled(act, script)
    (finding,) = ReachesCache("event").check(history).findings
    reads = [operation for operation in history.operations if operation.f == "read"]
    writes = [operation for operation in history.operations if operation.f == "write"]
    assert (finding.culprit, finding.because) == (reads[1], tuple(writes))
    assert (finding.stale_s, [version.value for version in finding.versions]) == (5.0, ["v2"])


HEARD_EVENTS = {
    "the worker deletes": "A write v2\nA XADD -> 1-0\nA ok\nC DEL -> 1",
    "nothing was there to delete": "A write v2\nA XADD -> 1-0\nA ok\nC DEL -> 0",
    "by a script": "A write v2\nA XADD -> 1-0\nA ok\nC EVAL -> 0",
    "before the writer hears that it was sent": "A write v2\nA XADD -> 1-0\nC DEL -> 1\nA ok",
    "its reply was lost": "A write v2\nA XADD -> 1-0\nA ok\nC DEL reply-lost",
    "one step for two events": "A write v2\nA XADD -> 1-0\nA ok\nB write v3\nB XADD -> 2-0\nB ok\nC DEL -> 1",
    "the event was sent, and the writer never knew": "A write v2\nA XADD reply-lost\nA info\nC DEL -> 1",
}


@pytest.mark.parametrize("title", HEARD_EVENTS)
def test_an_event_that_a_worker_acts_on_is_not_flagged(title: str, act: Act) -> None:
    """Whenever it does, whatever it finds, and however many events it does it for."""
    assert ReachesCache("event").check(settled(act, HEARD_EVENTS[title])).verdict is Verdict.UPHELD


NO_EVENTS = {
    "it was lost on its way": "A write v2\nA XADD lost\nA info",
    "it was refused": "A write v2\nA XADD -> error OOM\nA info",
    "it is about another key": "A write v2\nA XADD @none -> 1-0\nA ok",
    "the writer died before it": "A write v2\nA UPDATE v2\nA commits v2\nA crash",
}


@pytest.mark.parametrize("title", NO_EVENTS)
def test_what_was_not_sent_need_not_be_followed(title: str, act: Act) -> None:
    """A gap between commit and event is for other properties to find."""
    assert ReachesCache("event").check(settled(act, NO_EVENTS[title])).verdict is Verdict.NOT_EXERCISED


ACKNOWLEDGED = {
    "database first": ("A write v2\nA UPDATE v2\nA SET v2\nA ok", Verdict.UPHELD),
    "cache first": ("A write v2\nA DEL -> 1\nA UPDATE v2\nA ok", Verdict.UPHELD),
    "its reply was lost, and that was swallowed": ("A write v2\nA SET v2 reply-lost\nA ok", Verdict.UPHELD),
    "an error reached the caller": ("A write v2\nA UPDATE v2\nA SET v2 lost\nA info", Verdict.NOT_EXERCISED),
    "lost, and swallowed": ("A write v2\nA UPDATE v2\nA SET v2 lost\nA ok", Verdict.REFUTED),
    "never tried": ("A write v2\nA UPDATE v2\nA ok", Verdict.REFUTED),
    "an error that may mean anything": ("A write v2\nA SET v2 -> error broken\nA ok", Verdict.UNKNOWN),
    "somebody else's set": ("B write v3\nA write v2\nB SET v3\nB ok\nA ok", Verdict.REFUTED),
}


@pytest.mark.parametrize("title", ACKNOWLEDGED)
def test_an_acknowledged_write_has_itself_reached_the_cache(title: str, act: Act) -> None:
    """Before it returned; whether the run has come to rest does not matter."""
    script, verdict = ACKNOWLEDGED[title]
    judgement = ReachesCache("acknowledgement").check(act(script))
    assert judgement.verdict is verdict
    assert all((found.kind, found.at) == ("unheard-write", ()) for found in judgement.findings)


def test_a_run_that_never_came_to_rest_leaves_a_doubt(act: Act) -> None:
    """The worker may still be about to act."""
    history = act("C work\nA write v2\nA XADD -> 1-0\nA ok", workers=1)
    judgement = ReachesCache("event").check(history)
    assert judgement.unknown == "the run never came to rest: a worker may still be about to act"


def test_an_event_of_nobodys_operation_has_no_culprit(act: Act) -> None:
    """A relay's event is judged like any other; the relay is no write."""
    (finding,) = ReachesCache("event").check(settled(act, "C XADD -> 1-0")).findings
    assert (finding.culprit, finding.because) == (None, ())


@pytest.mark.parametrize("after", ["commit", "", "Event"])
def test_what_it_does_not_know_is_refused(after: str) -> None:
    """With the words that it takes."""
    with pytest.raises(UsageError, match=f"{after!r}; write one of acknowledgement, event"):
        ReachesCache(after)


def test_it_looks_once_everything_has_come_to_rest() -> None:
    """So that there is a read that may suffer."""
    assert (ReachesCache("event").name, ReachesCache("event").probes_s) == ("reaches-cache", (0.0,))
