"""While the cache is down, what is invoked works, and soon enough."""

import random
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from cacheproof.models.availability import Availability, calls, outages
from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.errors import UsageError
from cacheproof.models.event import Entered, Event, Exchanged, Faulted, Invoked, Phase, Returned
from cacheproof.models.history import History
from cacheproof.models.operation import Outcome
from cacheproof.models.verdict import Verdict

BOUND_S = 5.0
METHODS = ("read", "write", "acquire", "work")
_SQL = ("SELECT", "UPDATE")
MENDS = {
    "failover": ("freeze",),
    "heal": ("freeze", "kill", "partition", "pause"),
    "resume": ("pause",),
    "start": ("freeze", "kill", "pause"),
    "thaw": ("freeze",),
}
FAULTS = ("kill", "pause", "freeze", "partition", "partition A", *MENDS, "heal", "heal A", "heal B")


class Teller:
    """Makes a history from words: `kill`, `A read`, `A SELECT lost`, `+3` (seconds pass), `hold 3`, `A ok`.

    `hold` is time that a schedule makes pass (the fault "advance"); faults are of the cache unless a server
    is named, and of all clients unless one is: `pause database`, `partition A`.  `enter heal` is a phase.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.now_s = 0.0

    def say(self, line: str) -> None:
        who, *rest = line.split()
        stamp = (len(self.events), self.now_s)
        if who.startswith("+"):
            self.now_s += float(who[1:])
        elif who == "hold":
            self.events.append(Faulted(*stamp, "advance", detail=float(rest[0])))
            self.now_s += float(rest[0])
        elif who == "enter":
            self.events.append(Entered(*stamp, Phase(rest[0])))
        elif len(who) == 1:
            self.events.append(self._by_client(stamp, ord(who) - ord("A"), *rest))
        else:
            server = next((ServerName(word) for word in rest if word in list(ServerName)), ServerName.CACHE)
            process = next((ord(word) - ord("A") for word in rest if len(word) == 1), None)
            self.events.append(Faulted(*stamp, who, process, server))

    def _by_client(self, stamp: tuple[int, float], process: int, word: str, *rest: str) -> Event:
        if word in ("crash", "restart"):
            return Faulted(*stamp, word, process)
        if word in list(Outcome):
            return Returned(*stamp, process, Outcome(word), None, None)
        if not word.isupper():
            return Invoked(*stamp, process, word, "k", None)
        server = ServerName.DATABASE if word in _SQL else ServerName.CACHE
        fate = Fate.REQUEST_LOST if "lost" in rest else Fate.DELIVERED
        reply = {"error": "40001 serialization failure"} if "error" in rest else None
        waits, waited = "waits" in rest, "waited" in rest
        return Exchanged(*stamp, process, server, word, (word,), ("k",), reply, fate, waits, waited)


def tell(script: str, workers: tuple[int, ...] = ()) -> History:
    teller = Teller()
    for line in script.replace("\n", ";").split(";"):
        if line.strip():
            teller.say(line)
    return History({"k": "v1"}, tuple(teller.events), 2, workers)


# -- the definition, followed event by event ---------------------------------------------------------------


@dataclass
class Open:
    """What is known of an open call."""

    call: Invoked
    down_by: int | None
    wounded: bool
    held: list[tuple[float, float]] = field(default_factory=list)
    timed_out: bool = False
    crashed: bool = False
    waiting: bool = False


def by_definition(history: History) -> tuple[set[tuple[int, str, int]], int]:
    """({(invoked, kind, fault)}, how many were judged), by simulation."""
    everybody = set(range(history.processes))
    away: list[tuple[str, set[int], int]] = []
    wounds: set[int] = set()
    database_broken = healed = False
    at_work: dict[int, Open] = {}
    found: set[tuple[int, str, int]] = set()
    judged = 0

    def down(process: int) -> int | None:
        return min((index for _, whom, index in away if process in whom), default=None)

    def close(item: Open, now_s: float, outcome: Outcome | None) -> None:
        nonlocal judged
        if item.down_by is None or item.crashed or item.wounded or item.call.f == "work":
            return
        took_s = now_s - item.call.at_s
        own_s = took_s - sum(min(b, now_s) - a for a, b in item.held)
        if own_s > BOUND_S:
            found.add((item.call.index, "slow", item.down_by))
            judged += 1
        elif outcome is Outcome.OK:
            judged += 1
        elif outcome is None or item.call.f == "acquire" or item.timed_out:
            return
        elif down(item.call.process) is not None:
            found.add((item.call.index, "unavailable", item.down_by))
            judged += 1

    for event in history.events:
        if isinstance(event, Faulted):
            if event.server is ServerName.DATABASE:
                database_broken = True
                for item in at_work.values():
                    item.wounded = True
            elif event.fault in ("kill", "pause", "partition", "freeze"):
                whom = everybody if event.process is None else {event.process}
                away.append((event.fault, set(whom), event.index))
            elif event.fault in MENDS:
                for fault, whom, _ in away:
                    if fault in MENDS[event.fault]:
                        one = {event.process} if fault == "partition" else set[int]()
                        whom -= everybody if event.process is None else one
            elif event.fault == "crash" and event.process in at_work:
                at_work[event.process].crashed = True
            elif event.fault == "advance" and not healed:
                assert isinstance(event.detail, float)
                for item in at_work.values():
                    if not item.waiting:
                        item.held.append((event.at_s, event.at_s + event.detail))
                        item.timed_out = True
        elif isinstance(event, Entered):
            if event.phase is Phase.HEAL:
                away, healed = [], True
        elif isinstance(event, Invoked):
            down_by = down(event.process)
            at_work[event.process] = Open(event, down_by, database_broken or event.process in wounds)
        elif isinstance(event, Exchanged):
            item_or_none = at_work.get(event.process)
            hurt = event.fate is not Fate.DELIVERED or event.reply is not None
            if event.server is ServerName.DATABASE and event.fate is not Fate.DELIVERED:
                wounds.add(event.process)
            if item_or_none is not None:
                item_or_none.waiting = event.waits and event.server is ServerName.CACHE
                if event.server is ServerName.DATABASE:
                    item_or_none.wounded |= hurt
                    item_or_none.timed_out &= event.waits
        elif isinstance(event, Returned) and event.process in at_work:
            close(at_work.pop(event.process), event.at_s, event.outcome)
    for item in at_work.values():
        close(item, history.events[-1].at_s, None)
    return found, judged


def random_history(chance: random.Random) -> History:
    """Up to 14 events of two clients, a cache that comes and goes, and a database that seldom fails."""
    teller, busy, healed = Teller(), set[str](), False
    teller.say(chance.choice(("kill", "freeze", "A read", "partition A", "partition")))
    busy.update({"A"} if teller.events[0].__class__ is Invoked else ())
    for _ in range(chance.randint(2, 13)):
        roll = chance.random()
        client = chance.choice("AB")
        if roll < 0.12:
            teller.say(f"+{chance.choice((1, 3, 6))}")
        elif roll < 0.22:
            teller.say(f"hold {chance.choice((1, 4, 6))}")
        elif roll < 0.36 and not healed:
            teller.say(chance.choice(FAULTS))
        elif roll < 0.38:
            teller.say(chance.choice(("pause database", "A SELECT lost", "B SELECT error")))
        elif roll < 0.42 and not healed:
            teller.say("enter heal")
            healed = True
        elif roll < 0.6:
            teller.say(
                f"{client} {chance.choice(('SELECT', 'GET', 'GET waits', 'GET waited', 'UPDATE waits'))}"
            )
        elif client in busy:
            end = chance.choice(("ok", "ok", "fail", "fail", "info", "crash"))
            teller.say(f"{client} {end}")
            if end == "crash":
                teller.say(f"{client} info")
            busy.discard(client)
        else:
            teller.say(f"{client} {chance.choice(METHODS)}")
            busy.add(client)
    return History({"k": "v1"}, tuple(teller.events), 2)


def test_it_is_the_definition() -> None:
    """Followed event by event: who met the outage, what else had a share, and how much time was its own."""
    chance = random.Random(20)
    refuted = upheld = unknown = 0
    for _ in range(20_000):
        history = random_history(chance)
        judgement = Availability(BOUND_S).check(history)
        expected, judged = by_definition(history)
        got = {
            (finding.culprit.invoked, finding.kind, finding.at[0])
            for finding in judgement.findings
            if finding.culprit
        }
        assert (got, judgement.judged) == (expected, judged), history.to_jsonl()
        refuted += judgement.verdict is Verdict.REFUTED
        upheld += judgement.verdict is Verdict.UPHELD
        unknown += judgement.verdict is Verdict.UNKNOWN
    assert min(refuted, upheld, unknown) > 800


FOUND: dict[str, tuple[str, str, int, float | None]] = {
    "a read that raised": ("kill; A read; A fail", "unavailable", 0, None),
    "a write in doubt": ("kill; A write; A UPDATE; A info", "unavailable", 0, None),
    "a read that took too long": ("kill; A read; +6; A SELECT; A ok", "slow", 0, 6.0),
    "a failure after too long, with the cache back": ("kill; A read; +6; start; A fail", "slow", 0, 6.0),
    "a read that is still open": ("kill; A read; +7; enter drain", "slow", 0, 7.0),
    "the cache takes requests and never answers": (
        "A read; A ok; pause; A read; A GET waits; hold 9; A fail",
        "slow",
        2,
        9.0,
    ),
    "soon enough, but in vain": ("pause; A read; A GET waits; hold 2; A fail", "unavailable", 0, None),
    "a partition of this client": ("partition A; A read; A fail", "unavailable", 0, None),
    "another client's partition was healed": ("partition A; heal B; A read; A fail", "unavailable", 0, None),
    "the network of another client was healed": (
        "partition; heal B; A read; A fail",
        "unavailable",
        0,
        None,
    ),
    "it takes requests, and works on none": (
        "freeze; A read; A GET waits; hold 2; A fail",
        "unavailable",
        0,
        None,
    ),
    "a failover is for a cache that was frozen, not for a network": (
        "partition; failover; A read; A fail",
        "unavailable",
        0,
        None,
    ),
    "a server is not started for one client": ("kill; heal A; A read; A fail", "unavailable", 0, None),
    "the outage that came first": ("pause; kill; A read; A fail", "unavailable", 0, None),
    "paused and partitioned: one of both was mended": (
        "pause; partition A; resume; A read; A fail",
        "unavailable",
        1,
        None,
    ),
    "time passed, but the database was heard after it": (
        "kill; A read; hold 3; A SELECT; A fail",
        "unavailable",
        0,
        None,
    ),
    "in the epilogue nothing is held back": (
        "kill; A read; enter heal; hold 8; A SELECT; A ok",
        "slow",
        0,
        8.0,
    ),
}


@pytest.mark.parametrize("title", FOUND)
def test_an_outage_that_clients_notice_is_found(title: str) -> None:
    """With the fault that took the cache away, and the seconds it took against those that were allowed."""
    script, kind, at, took_s = FOUND[title]
    (finding,) = Availability(BOUND_S).check(tell(script)).findings
    assert (finding.property, finding.kind, finding.key, finding.at) == ("availability", kind, "k", (at,))
    assert finding.found == took_s
    assert finding.allowed == (None if took_s is None else (0.0, BOUND_S))
    assert finding.culprit is not None and finding.because == ()


NEAR_MISSES = {
    "in time": "kill; A read; +5; A SELECT; A ok",
    "it failed before the cache went down": "A read; A fail; kill",
    "it was open when the cache went down": "A read; kill; A fail",
    "it failed after the cache came back": "kill; start; A read; A fail",
    "it failed in time, and with the cache back": "kill; A read; start; A fail",
    "the end of the outage is the phase heal": "kill; enter heal; A read; A fail",
    "the client crashed": "kill; A read; A crash; A info",
    "the client crashed, and nobody said how the call ended": "kill; A read; A crash",
    "the database was down as well": "kill; kill database; A read; A fail",
    "the database failed meanwhile": "kill; A read; pause database; A fail",
    "its connection to the database had been cut": "A SELECT lost; kill; A read; A fail",
    "the database refused": "kill; A write; A UPDATE error; A fail",
    "the other client is cut off": "partition B; A read; A fail",
    "its partition is healed": "partition A; heal A; A read; A fail",
    "everybody is cut off, and its network is healed": "partition; heal A; A read; A fail",
    "the cache works again": "freeze; thaw; A read; A fail",
    "what was frozen was killed and started": "freeze; kill; start; A read; A fail",
    "another server took over from the frozen one": "freeze; failover; A read; A fail",
    "time passed while a request may have been held back": "kill; A read; hold 9; A SELECT; A ok",
    "its database request may have timed out": "kill; A read; hold 3; A fail",
    "a lock may be refused": "kill; A acquire; A fail",
    "the database is down, the cache is not": "kill database; A read; A fail",
}


@pytest.mark.parametrize("title", NEAR_MISSES)
def test_near_misses_are_not_flagged(title: str) -> None:
    """In time, not at that time, or not the cache's fault."""
    judgement = Availability(BOUND_S).check(tell(NEAR_MISSES[title]))
    assert judgement.findings == () and judgement.unknown is None


def test_what_may_still_return_in_time_leaves_a_doubt() -> None:
    """The history ends too early; what was judged before counts all the same."""
    judgement = Availability(BOUND_S).check(tell("kill; B read; B ok; A read; +2; B read; B ok"))
    assert judgement.verdict is Verdict.UNKNOWN and judgement.judged == 2
    assert "the history ends while read of 'k' is open" in (judgement.unknown or "")


@pytest.mark.parametrize(
    "script", ["kill; A read; hold 9; A SELECT; A ok", "freeze; A read; thaw; hold 9; A ok"]
)
def test_what_took_no_time_of_its_own_was_put_to_the_test(script: str) -> None:
    """The call worked in the outage; that the network was slow meanwhile does not make it untested."""
    assert Availability(BOUND_S).check(tell(script)).verdict is Verdict.UPHELD


def test_workers_never_return() -> None:
    """Their operations are no calls, whatever they are named; nor is `work` by anybody."""
    history = tell("kill; A work; B read; +9; enter drain", workers=(1,))
    assert calls(history) == ()
    assert Availability(BOUND_S).check(history).verdict is Verdict.NOT_EXERCISED


def test_calls_say_how_they_ended() -> None:
    """Also those that ended in doubt, of which the operation does not tell."""
    doubtful, open_ = calls(tell("A write; +2; A info; A read"))
    assert doubtful.ended is not None and (doubtful.ended.index, doubtful.ended.at_s) == (1, 2.0)
    assert open_.ended is None and not open_.crashed


def test_outages_end_where_they_are_mended() -> None:
    """One for each fault; a fault of all clients is not mended for one, and a mend may name no server."""
    history = tell("kill; heal A; start; pause; partition A; start database; enter heal; stop")
    found = outages(history, ServerName.CACHE)
    assert [(item.fault.fault, item.until) for item in found] == [
        ("kill", 2),
        ("pause", 6),
        ("partition", 6),
        ("stop", None),
    ]
    assert outages(history, ServerName.DATABASE) == ()
    (cut,) = outages(tell("partition; heal B; A read; heal A; heal"), ServerName.CACHE)
    assert (cut.until, cut.spared) == (4, ((1, 1), (0, 3)))
    assert [cut.covers(0, 2), cut.covers(1, 2), cut.covers(0, 4), cut.covers(2, 3)] == [
        True,
        False,
        False,
        True,
    ]
    nameless = replace(history.faults[2], server=None)
    mended = replace(history, events=(*history.events[:2], nameless))
    assert [item.until for item in outages(mended, ServerName.CACHE)] == [2]


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_a_bound_is_zero_or_more(seconds: Any) -> None:
    """Anything else is a mistake of the caller."""
    with pytest.raises(UsageError, match="write 0 or more seconds"):
        Availability(seconds)


def test_it_needs_no_final_read() -> None:
    """What happened during the outage is all."""
    assert (Availability(1.0).name, Availability(1.0).probes_s) == ("availability", ())
