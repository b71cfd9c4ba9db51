"""Some time after a commit no copy serves an older version."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cacheproof.models.decision import ServerName
from cacheproof.models.errors import UsageError
from cacheproof.models.event import Committed, Event, Exchanged, Invoked, Returned
from cacheproof.models.history import History
from cacheproof.models.invalidation import Invalidation
from cacheproof.models.operation import Outcome, Value
from cacheproof.models.verdict import Verdict

Act = Callable[..., History]

# -- the definition ----------------------------------------------------------------------------------------


def by_definition(history: History, bound_s: float) -> tuple[dict[tuple[int | None, Value], int], int]:
    """({(process of the copy, old value): index of the first look}, how many looks were judged)."""
    first: dict[tuple[int | None, Value], int] = {}
    judged = 0
    for look, until, process, value in _seen(history):
        late = [
            commit
            for commit in history.commits["k"]
            if commit.index < look.index and (bound_s == 0 or look.at_s - commit.at_s > bound_s)
        ]
        judged += bool(late)
        if any(_certainly_newer(history, commit, value, until) for commit in late):
            first.setdefault((process, value), look.index)
    return first, judged


def _seen(history: History) -> list[tuple[Event, int, int | None, Value]]:
    """(the look, until when it may have been, the process of the copy, the value) in order."""
    found: list[tuple[Event, int, int | None, Value]] = []
    known = {"v0", *(e.value for e in history.events if isinstance(e, Committed | Invoked))} - {None}
    for event in history.events:
        if isinstance(event, Exchanged) and event.verb == "GET" and event.reply in known:
            found.append((event, event.index, None, event.reply))
        elif isinstance(event, Invoked) and event.f == "read":
            for later in history.events[event.index + 1 :]:
                if getattr(later, "process", None) != event.process or isinstance(later, Committed):
                    continue
                if isinstance(later, Returned) and later.outcome is Outcome.OK:
                    found.append((event, later.index, event.process, later.value))
                break
    return found


def _certainly_newer(history: History, commit: Committed, value: Value, until: int) -> bool:
    """Whether `commit` ended the only version of `value`, and no other may be on its way."""
    places = [-1] if value == "v0" else []
    places += [other.index for other in history.commits["k"] if other.value == value]
    writes = [
        event
        for event in history.events[:until]
        if isinstance(event, Invoked)
        and ((event.f == "write" and event.value == value) or (event.f == "delete" and value is None))
    ]
    committed = [place for place in places if 0 <= place < until]
    return len(places) == 1 and places[0] < commit.index and len(writes) <= len(committed)


def random_history(chance: random.Random) -> History:
    """Three clients that read, write and delete one key, with and without asking the cache."""
    events: list[Event] = []
    at_work: dict[int, Invoked] = {}
    now_s, written, versions = 0.0, 0, 0
    for _ in range(chance.randint(3, 18)):
        now_s += chance.choice((0.0, 0.0, 1.0, 4.0))
        stamp, process = (len(events), now_s), chance.randint(0, 2)
        value: Value = chance.choice((None, "v0", *(f"v{n}" for n in range(1, written + 1)), "v1"))
        roll = chance.random()
        if roll < 0.25:
            versions += 1
            events.append(Committed(*stamp, "k", value, versions, process))
        elif roll < 0.4:
            request = ("GET", "cache:k")
            events.append(Exchanged(*stamp, process, ServerName.CACHE, "GET", request, ("k",), value))
        elif process in at_work:
            call = at_work.pop(process)
            outcome = chance.choice((Outcome.OK, Outcome.OK, Outcome.OK, Outcome.FAIL, Outcome.INFO))
            events.append(Returned(*stamp, process, outcome, value if call.f == "read" else call.value))
        else:
            f = chance.choice(("read", "read", "read", "write", "write", "delete"))
            written += f == "write"
            again = chance.choice((written, written, max(written - 1, 1)))
            at_work[process] = Invoked(*stamp, process, f, "k", f"v{again}" if f == "write" else None)
            events.append(at_work[process])
    return History({"k": "v0"}, tuple(events), 3)


@pytest.mark.parametrize("bound_s", [0.0, 3.0])
def test_it_is_the_definition(bound_s: float) -> None:
    """The first look, for each copy and old version, after a commit that certainly ended that version."""
    chance = random.Random(11)
    refuted = upheld = local = 0
    for _ in range(6_000):
        history = random_history(chance)
        judgement = Invalidation(bound_s).check(history)
        expected, judged = by_definition(history, bound_s)
        got = {}
        for finding in judgement.findings:
            process, index, value = _shown(history, finding.at, finding.culprit)
            got[process, value] = index
            local += process is not None
        assert (got, judgement.judged) == (expected, judged), history.to_jsonl()
        refuted += judgement.verdict is Verdict.REFUTED
        upheld += judgement.verdict is Verdict.UPHELD
    assert min(refuted, upheld, local) > 150


def _shown(history: History, at: tuple[int, ...], culprit: Any) -> tuple[int | None, int, Value]:
    if not at:
        return culprit.process, culprit.invoked, culprit.value
    event = history.events[at[0]]
    assert isinstance(event, Exchanged)
    return None, at[0], event.reply


# -- examples ----------------------------------------------------------------------------------------------

WRITTEN = "A write v2\nA UPDATE v2\nA commits v2\n"


def test_a_late_copy_at_the_server_is_found(act: Act) -> None:
    """With the versions, the write, the seconds since its commit, and the first exchange that shows it."""
    history = act(WRITTEN + "advance 12\nB read\nB GET -> v1\nB ok v1\nB read\nB GET -> v1\nB ok v1")
    (finding,) = Invalidation(10).check(history).findings
    assert (finding.property, finding.kind, finding.key) == ("invalidation", "late-invalidation", "k")
    assert finding.culprit == history.operations[1] and finding.because == (history.operations[0],)
    assert [version.value for version in finding.versions] == ["v2"]
    assert (finding.at, finding.found, finding.allowed, finding.stale_s) == ((5,), 12.0, (0.0, 10), 12.0)


def test_each_old_version_is_a_finding(act: Act) -> None:
    """The old version is shown if it was committed in the run."""
    script = WRITTEN + "A ok\nA write v3\nA commits v3\nadvance 2\nB GET -> v2\nB GET -> v1\nB GET -> v2"
    one, other = Invalidation(1).check(act(script)).findings
    assert [version.value for version in one.versions] == ["v2", "v3"]
    assert [version.value for version in other.versions] == ["v2"] and one.culprit is None


def test_a_late_local_tier_is_found(act: Act) -> None:
    """A read without any exchange shows the copy inside its process; each process has its own."""
    script = WRITTEN + "A DEL\nA ok\nadvance 1\nB read\nB ok v1\nC read\nC ok v1\nC read\nC ok v1"
    history = act(script)
    findings = Invalidation(0).check(history).findings
    assert [(f.culprit and f.culprit.process, f.at, f.found) for f in findings] == [
        (1, (), 1.0),
        (2, (), 1.0),
    ]


REPLIES: dict[str, tuple[Any, int]] = {
    "plain": ("v1", 1),
    "a JSON document": ('{"key": "k", "value": "v1"}', 1),
    "a JSON string": ('"v1"', 1),
    "a hash": (["version", "1", "value", "v1"], 1),
    "a map": ({"value": "v1"}, 1),
    "a document of both versions": ('["v1", "v2"]', 0),
    "part of a word": ("v1.5", 0),
    "an opaque encoding": ("\\x80v1", 0),
    "what only looks like JSON": ("{v1}", 0),
    "a number": ('{"value": 1}', 0),
    "the new version": ("v2", 0),
    "a version that is not committed yet": ("v9", 0),
    "an error": ({"error": "v1 is not an integer"}, 0),
    "nothing": (None, 0),
}


@pytest.mark.parametrize("title", REPLIES)
def test_only_what_is_recognised_is_judged(title: str, act: Act) -> None:
    """The whole text, or a whole string in it, and no other version beside it."""
    reply, count = REPLIES[title]
    history = act(WRITTEN + "advance 5\nB read\nB GET")
    *events, last = history.events
    assert isinstance(last, Exchanged)
    shown = replace(last, reply=reply)
    judgement = Invalidation(1).check(replace(history, events=(*events, shown)))
    assert len(judgement.findings) == count


def test_numbers_are_never_evidence(act: Act) -> None:
    """Even where values are numbers: a version or a time to live looks the same."""
    history = act(WRITTEN + "advance 5\nB GET", {"k": "1"})
    *events, last = history.events
    assert isinstance(last, Exchanged)
    replies: tuple[Any, ...] = ("1", 1, ["1"])
    for reply in replies:
        shown = replace(last, reply=reply)
        judgement = Invalidation(1).check(replace(history, events=(*events, shown)))
        assert judgement.verdict is Verdict.NOT_EXERCISED


def test_replies_for_several_keys(act: Act) -> None:
    """What several keys have had may belong to any of them."""
    script = WRITTEN + "advance 5\nB MGET @both"
    for other, count in (("v1", 0), ("v7", 1)):
        history = act(script, {"k": "v1", "a": other})
        asked = replace(history.exchanges[-1], keys=("k", "a"), reply=["v1", None])
        judgement = Invalidation(1).check(replace(history, events=(*history.events[:-1], asked)))
        assert len(judgement.findings) == count


NEAR_MISSES = {
    "within the bound": WRITTEN + "advance 10\nB read\nB GET -> v1",
    "before the commit": "A write v2\nB GET -> v1\nA commits v2\nadvance 60",
    "it was committed again": WRITTEN + "C commits v1\nA commits v3\nadvance 60\nB GET -> v1",
    "it may be on its way again": WRITTEN + "C write v1\nadvance 60\nB GET -> v1",
    "ahead of the database": "A write v2\nA SET v2\nadvance 60\nB GET -> v2\nA commits v2",
    "the queue of a worker": WRITTEN + "advance 60\nC work\nC GET -> v1",
    "a row, not a copy": WRITTEN + "advance 60\nB read\nB SELECT -> v1",
    "a read that asked somebody": WRITTEN + "advance 60\nB read\nB SELECT -> v1\nB ok v1",
    "a read that was told so": WRITTEN + "advance 60\nB read\nB GET -> nil\nB ok v1",
    "what is written to the cache": WRITTEN + "advance 60\nB read\nB SET v1",
    "a local tier before the bound": WRITTEN + "advance 9\nB read\nB ok v1",
    "a local tier that may have it anew": WRITTEN + "advance 60\nB read\nC write v1\nB ok v1",
}


@pytest.mark.parametrize("title", NEAR_MISSES)
def test_near_misses_are_not_flagged(title: str, act: Act) -> None:
    """In time, perhaps new, or no copy at all."""
    history = act(NEAR_MISSES[title], workers=1 if "worker" in title else 0)
    judgement = Invalidation(10).check(history)
    assert judgement.findings == () and judgement.unknown is None


def test_other_methods_leave_a_doubt(act: Act) -> None:
    """With an increment on the key any value may be new."""
    judgement = Invalidation(1).check(act("A increment\nA commits v2\nA ok\nadvance 5\nB GET -> v1"))
    assert judgement.verdict is Verdict.UNKNOWN


def test_without_a_look_it_is_not_exercised(act: Act) -> None:
    """Nor with looks before the bound has passed."""
    assert Invalidation(1).check(act(WRITTEN)).verdict is Verdict.NOT_EXERCISED
    assert Invalidation(1).check(act(WRITTEN + "B GET -> v2")).judged == 0
    assert Invalidation(1).check(act(WRITTEN + "advance 2\nB GET -> v2")).verdict is Verdict.UPHELD


def test_replies_survive_being_stored(act: Act) -> None:
    """What was judged is judged in the same way after it was written down."""
    history = act(WRITTEN + "advance 12\nB read\nB GET -> v1\nB ok v1")
    stored = History.from_jsonl(history.to_jsonl())
    assert Invalidation(1).check(stored) == Invalidation(1).check(history)
    assert json.loads(history.to_jsonl().splitlines()[0])["type"] == "run"


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_a_bound_is_zero_or_more(seconds: Any) -> None:
    """Anything else is a mistake of the caller."""
    with pytest.raises(UsageError, match="write 0 or more seconds"):
        Invalidation(seconds)


def test_it_asks_for_a_read_just_after_the_bound() -> None:
    """At the bound itself an entry may still be served."""
    assert Invalidation(0).probes_s == (0.0,) and Invalidation(10).probes_s == (10.001,)
    assert Invalidation(10).name == "invalidation"
