"""After healing every operation returns, soon enough, and no lock is left behind."""

import random
from dataclasses import replace
from math import inf
from typing import Any

import pytest

from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.errors import UsageError
from cacheproof.models.event import Entered, Event, Exchanged, Faulted, Invoked, Phase, Returned
from cacheproof.models.history import History
from cacheproof.models.liveness import Liveness
from cacheproof.models.operation import Outcome
from cacheproof.models.verdict import Verdict

BOUND_S = 5.0


class Teller:
    """Makes a history from words: `A read`, `A ok`, `+3` (seconds pass), `A crash`, `kill`, `enter drain`.

    `A ok no` returns False; locks are named "k".
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.now_s = 0.0

    def say(self, line: str) -> None:
        who, *rest = line.split()
        stamp = (len(self.events), self.now_s)
        if who.startswith("+"):
            self.now_s += float(who[1:])
        elif who == "advance":
            self.events.append(Faulted(*stamp, "advance", detail=float(rest[0])))
            self.now_s += float(rest[0])
        elif who == "enter":
            self.events.append(Entered(*stamp, Phase(rest[0])))
        elif len(who) == 1:
            self.events.append(self._by_client(stamp, ord(who) - ord("A"), *rest))
        else:
            self.events.append(Faulted(*stamp, who, None, ServerName.CACHE))

    def _by_client(self, stamp: tuple[int, float], process: int, word: str, *rest: str) -> Event:
        if word in ("crash", "restart", "partition"):
            server = ServerName.CACHE if word == "partition" else None
            return Faulted(*stamp, word, process, server)
        if word in list(Outcome):
            return Returned(*stamp, process, Outcome(word), not rest)
        if word.isupper():
            return Exchanged(*stamp, process, ServerName.CACHE, word, (word,), (), None, Fate(*rest))
        return Invoked(*stamp, process, word, "k", None)


def tell(script: str, workers: tuple[int, ...] = ()) -> History:
    teller = Teller()
    for line in filter(str.strip, script.split(";")):
        teller.say(line)
    return History({}, tuple(teller.events), 3, workers)


# -- the definition, worked out instant by instant ---------------------------------------------------------

Found = set[tuple[int, str, float | None, tuple[int, ...]]]


def by_definition(history: History) -> tuple[Found, int, bool]:
    """(findings, how many were judged, whether there is a doubt)."""
    events = history.events
    healed = next(
        (e for phase in (Phase.DRAIN, Phase.HEAL) for e in events if getattr(e, "phase", None) is phase), None
    )
    from_index, from_s = (healed.index, healed.at_s) if healed else (-1, 0.0)
    faults = [e for e in events if isinstance(e, Faulted)]
    if healed is None and faults:
        from_index, from_s = faults[-1].index, faults[-1].at_s
        if faults[-1].fault == "advance":
            from_s += float(faults[-1].detail or 0)
    rest = next((e.index for e in events if getattr(e, "phase", None) is Phase.QUIESCE), None)
    found: Found = set()
    judged, doubt = 0, False
    for call in events:
        if not isinstance(call, Invoked) or call.f == "work":
            continue
        end, crashed = _end(events, call)
        if crashed or (end is not None and end.index < from_index):
            continue
        now = end or events[-1]
        took_s = now.at_s - max(call.at_s, from_s)
        until = end.index if end else inf
        holders = [item for item in events if call.f == "acquire" and _may_hold(events, item, call)]
        if end is None and rest is not None and (took_s > BOUND_S or call.index < rest):
            after = range(max(call.index, rest) + 1, len(events) + 1)
            returned = [item for item in holders if _end(events, item)[0] or _end(events, item)[1]]
            if any(_holds_at(events, item, moment) for item in returned for moment in after):
                continue
            kind = "orphan-lock" if call.f == "acquire" else "hangs"
            found.add((call.index, kind, took_s, _dead(events, holders, until)))
        elif took_s > BOUND_S:
            if any(_meets(events, item, call.index, until) for item in holders):
                continue
            found.add((call.index, "slow", took_s, ()))
        elif end is None:
            doubt = True
            continue
        elif call.f == "acquire" and call.index > from_index and call.at_s >= from_s + BOUND_S:
            dead = _dead(events, holders, inf)
            refused = end.outcome is Outcome.OK and end.value is False
            raised = end.outcome is Outcome.FAIL and bool(dead) and not _ever_cut(events, call)
            met = any(_meets(events, item, call.index, until) for item in holders)
            if (refused or raised) and not met:
                found.add((call.index, "orphan-lock", None, _dead(events, holders, until)))
        judged += 1
    return found, judged, doubt


def _end(events: tuple[Event, ...], call: Event) -> tuple[Returned | None, bool]:
    """How a call ended, and whether its client crashed before."""
    assert isinstance(call, Invoked)
    crashed = False
    for event in events[call.index + 1 :]:
        if isinstance(event, Faulted) and event.fault == "crash" and event.process == call.process:
            crashed = True
        if isinstance(event, Returned) and event.process == call.process:
            return event, crashed
        if isinstance(event, Invoked) and event.process == call.process:
            return None, crashed
    return None, crashed


def _may_hold(events: tuple[Event, ...], item: Event, but: Invoked) -> bool:
    if not isinstance(item, Invoked) or item.f != "acquire" or item is but:
        return False
    end, _ = _end(events, item)
    return (
        end is None or end.outcome is Outcome.INFO or (end.outcome is Outcome.OK and end.value is not False)
    )


def _holds_at(events: tuple[Event, ...], item: Event, moment: float) -> bool:
    """Whether the client may hold the lock just before event `moment`: neither released, nor dead."""
    assert isinstance(item, Invoked)
    for event in events[item.index + 1 :]:
        if event.index >= moment:
            break
        if isinstance(event, Faulted) and event.fault == "crash" and event.process == item.process:
            return False
        if isinstance(event, Invoked) and event.f == "release" and event.process == item.process:
            end, _ = _end(events, event)
            if end is not None and end.outcome is Outcome.OK and end.index < moment:
                return False
    return item.index < moment


def _meets(events: tuple[Event, ...], item: Event, since: int, until: float) -> bool:
    moments = range(since + 1, int(min(until, len(events))) + 1)
    return any(_holds_at(events, item, moment) for moment in moments)


def _dead(events: tuple[Event, ...], holders: list[Event], until: float) -> tuple[int, ...]:
    """The calls of those who died holding the lock, before event `until`."""
    return tuple(
        item.index
        for item in holders
        if isinstance(item, Invoked)
        and any(
            isinstance(event, Faulted)
            and (event.fault, event.process) == ("crash", item.process)
            and item.index < event.index < until
            and _holds_at(events, item, event.index)
            for event in events
        )
    )


def _ever_cut(events: tuple[Event, ...], call: Invoked) -> bool:
    return any(
        (isinstance(event, Faulted) and event.fault == "kill")
        or (isinstance(event, Exchanged) and event.process == call.process and event.fate != Fate.DELIVERED)
        for event in events[: call.index]
    )


def random_history(chance: random.Random) -> History:
    """Up to 16 events of three clients that mostly want one lock, some of whom die, and an epilogue."""
    teller, busy = Teller(), set[str]()
    phases = ["enter heal", "enter drain", "enter quiesce"][chance.choice((0, 0, 1, 2)) :]
    if chance.random() < 0.2:
        phases = phases[:-1]
    for _ in range(chance.randint(4, 16)):
        roll, client = chance.random(), chance.choice("ABC")
        if roll < 0.2:
            teller.say(f"+{chance.choice((1, 3, 6))}")
        elif roll < 0.24:
            teller.say(chance.choice(("advance 2", "kill", f"{client} GET request-lost")))
        elif roll < 0.4 and phases:
            teller.say(phases.pop(0))
        elif roll < 0.5:
            teller.say(f"{client} crash")
            if client in busy and chance.random() < 0.8:
                teller.say(f"{client} info")
            busy.discard(client)
        elif client in busy:
            teller.say(f"{client} {chance.choice(('ok', 'ok', 'ok no', 'ok no', 'fail', 'info'))}")
            busy.discard(client)
        else:
            teller.say(
                f"{client} {chance.choice(('acquire', 'acquire', 'acquire', 'release', 'read', 'work'))}"
            )
            busy.add(client)
    return History({}, tuple(teller.events), 3)


def test_it_is_the_definition() -> None:
    """Worked out instant by instant: who may hold the lock, who died with it, and what took how long."""
    chance = random.Random(4)
    refuted = upheld = unknown = orphans = 0
    for _ in range(15_000):
        history = random_history(chance)
        judgement = Liveness(BOUND_S).check(history)
        got = {
            (f.culprit.invoked, f.kind, f.found, tuple(op.invoked for op in f.because))
            for f in judgement.findings
            if f.culprit
        }
        expected = by_definition(history)
        assert (got, judgement.judged, judgement.unknown is not None) == expected, history.to_jsonl()
        refuted += judgement.verdict is Verdict.REFUTED
        upheld += judgement.verdict is Verdict.UPHELD
        unknown += judgement.verdict is Verdict.UNKNOWN
        orphans += any(kind == "orphan-lock" and because for _, kind, _, because in got)
    assert min(refuted, upheld, unknown) > 800 and orphans > 100


FOUND: dict[str, tuple[str, str, list[int], float | None]] = {
    "open since before healing": ("A read; +9; enter drain; +6; A ok", "slow", [], 6.0),
    "begun after healing": ("enter drain; +1; A read; +7; A ok", "slow", [], 7.0),
    "it raised, much too late": ("enter heal; A write; +7; A info", "slow", [], 7.0),
    "after the last fault": ("kill; start; +1; A read; +6; A ok", "slow", [], 6.0),
    "after time that was made to pass": ("A read; advance 3; +6; A ok", "slow", [], 6.0),
    "without any fault": ("A read; +6; A ok", "slow", [], 6.0),
    "still open long after healing": ("enter drain; A read; +6; B read; B ok", "slow", [], 6.0),
    "it never returns": ("A read; enter drain; +1; enter quiesce", "hangs", [], 1.0),
    "a final read never returns": (
        "enter drain; enter quiesce; A read; +6; enter final-reads",
        "hangs",
        [],
        6.0,
    ),
    "refused by a dead holder": (
        "A acquire; A ok; A crash; enter drain; +5; B acquire; B ok no",
        "orphan-lock",
        [0],
        None,
    ),
    "it raised because of a dead holder": (
        "A acquire; A crash; A info; enter drain; +5; B acquire; B fail",
        "orphan-lock",
        [0],
        None,
    ),
    "it waits for a dead holder for ever": (
        "A acquire; A ok; A crash; B acquire; enter drain; enter quiesce",
        "orphan-lock",
        [0],
        0.0,
    ),
    "refused, though it was released": (
        "A acquire; A ok; A release; A ok; enter drain; +5; B acquire; B ok no",
        "orphan-lock",
        [],
        None,
    ),
}


@pytest.mark.parametrize("title", FOUND)
def test_what_does_not_end_well_is_found(title: str) -> None:
    """The operation, the dead holder's acquire, and how long it took against what was allowed."""
    script, kind, because, took_s = FOUND[title]
    (finding,) = Liveness(BOUND_S).check(tell(script)).findings
    assert (finding.property, finding.kind, finding.key) == ("liveness", kind, "k")
    assert finding.culprit is not None and [op.invoked for op in finding.because] == because
    assert finding.found == took_s
    assert finding.allowed == (None if took_s is None else (0.0, BOUND_S))


NEAR_MISSES = {
    "soon enough": "A read; enter drain; +5; A ok",
    "slow, but before healing": "kill; A read; +60; A ok; enter heal; enter drain",
    "it raised": "enter drain; A read; A fail",
    "its client crashed": "A read; A crash; enter drain; +60; enter quiesce",
    "a worker's main loop": "A work; enter drain; +60; enter quiesce",
    "refused while a living process holds the lock": ("A acquire; A ok; enter drain; +5; B acquire; B ok no"),
    "waits for ever for a living holder": "A acquire; A ok; B acquire; enter drain; enter quiesce",
    "slow, while a living process held the lock": (
        "A acquire; A ok; enter drain; B acquire; +6; A release; A ok; B ok"
    ),
    "refused by somebody who died meanwhile": (
        "A acquire; A ok; enter drain; +5; B acquire; A crash; B ok no"
    ),
    "the dead holder's lock may have a time to live": (
        "A acquire; A ok; A crash; enter drain; +4; B acquire; B ok no"
    ),
    "in doubt whether it was acquired": ("A acquire; A info; enter drain; +5; B acquire; B ok no"),
    "a release that failed": ("A acquire; A ok; A release; A info; enter drain; +5; B acquire; B ok no"),
    "it raised, though nobody died": "enter drain; +5; B acquire; B fail",
    "it raised on a connection that had been cut": (
        "A acquire; A ok; A crash; B GET reply-lost; enter drain; +5; B acquire; B fail"
    ),
    "it raised on a connection that the outage had cut": (
        "A acquire; A ok; A crash; B partition; enter drain; +5; B acquire; B fail"
    ),
    "it raised on a connection that a failover had cut": (
        "A acquire; A ok; A crash; failover; enter drain; +5; B acquire; B fail"
    ),
    "nobody refused": "A acquire; A ok; A crash; enter drain; +5; B acquire; B ok",
}


@pytest.mark.parametrize("title", NEAR_MISSES)
def test_near_misses_are_not_flagged(title: str) -> None:
    """In time, excused, or perhaps the holder's right."""
    judgement = Liveness(BOUND_S).check(tell(NEAR_MISSES[title]))
    assert judgement.findings == () and judgement.unknown is None


def test_locks_of_other_names_do_not_count() -> None:
    """Neither their holders nor their dead."""
    history = tell("A acquire; A ok; enter drain; +5; B acquire; B ok no")
    assert isinstance(history.events[0], Invoked)
    other = replace(history.events[0], key="other")
    judgement = Liveness(BOUND_S).check(replace(history, events=(other, *history.events[1:])))
    assert [(finding.kind, finding.because) for finding in judgement.findings] == [("orphan-lock", ())]


def test_a_history_that_ends_too_early_leaves_a_doubt() -> None:
    """What is open may still return in time."""
    for script in ("enter drain; A read; +5; B read; B ok", "enter drain; enter quiesce; A read"):
        judgement = Liveness(BOUND_S).check(tell(script))
        assert judgement.verdict is Verdict.UNKNOWN
        assert judgement.unknown == "the history ends while read of 'k' is open"


def test_operations_of_workers_are_excused() -> None:
    """Whatever they are named; and a history without calls exercises nothing."""
    history = tell("B read; enter drain; +60; enter quiesce", workers=(1,))
    assert Liveness(BOUND_S).check(history).verdict is Verdict.NOT_EXERCISED
    assert Liveness(BOUND_S).check(History({})).verdict is Verdict.NOT_EXERCISED


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_a_bound_is_zero_or_more(seconds: Any) -> None:
    """Anything else is a mistake of the caller."""
    with pytest.raises(UsageError, match="write 0 or more seconds"):
        Liveness(seconds)


def test_it_asks_for_a_read_at_once() -> None:
    """So that something is judged in every run."""
    assert (Liveness(1.0).name, Liveness(1.0).probes_s) == ("liveness", (0.0,))
