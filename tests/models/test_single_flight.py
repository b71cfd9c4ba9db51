"""In each epoch a key is loaded at most k times."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest

from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.errors import UsageError
from cacheproof.models.event import Committed, Event, Exchanged, Faulted, Invoked, Returned
from cacheproof.models.history import History
from cacheproof.models.operation import Outcome
from cacheproof.models.single_flight import SingleFlight
from cacheproof.models.verdict import Verdict

tell: Callable[[str], History] = run_path(str(Path(__file__).with_name("flights.py")))["tell"]

# -- the definition, event by event ---------------------------------------------------------------------------


def last(events: list[Event], before: int, kinds: tuple[type, ...], **wanted: Any) -> int:
    """The last event of a kind before an index of which all this is true, or -1."""
    for event in reversed(events[:before]):
        if isinstance(event, kinds) and all(
            getattr(event, name) in values for name, values in wanted.items()
        ):
            return event.index
    return -1


def fresh(events: list[Event], process: int, before: int) -> int:
    """When a process began, or ended."""
    return last(events, before, (Faulted,), process=[process], fault=["crash", "restart"])


def calling(events: list[Event], process: int, before: int) -> str:
    """The method that a process was at; "" if it was at none."""
    call = last(events, before, (Invoked,), process=[process])
    done = last(events, before, (Returned,), process=[process], outcome=[Outcome.OK, Outcome.FAIL])
    return str(getattr(events[call], "f", "")) if call > max(done, fresh(events, process, before)) else ""


def failed(event: Exchanged) -> bool:
    return event.fate is not Fate.DELIVERED


def is_load(events: list[Event], event: Exchanged) -> bool:
    if event.verb != "SELECT" or failed(event) or calling(events, event.process, event.index) == "write":
        return False
    words = {"process": [event.process], "server": [ServerName.CACHE]}
    good = last(events, event.index, (Exchanged,), fate=[Fate.DELIVERED], **words)
    bad = last(events, event.index, (Exchanged,), fate=[Fate.REQUEST_LOST], **words)
    bad = max(bad, last(events, event.index, (Faulted,), fault=["kill"]))
    return bad <= max(good, fresh(events, event.process, event.index))


def hopes(events: list[Event], loads: set[int], process: int, before: int) -> bool:
    """Whether a process has loaded what it may not have stored: in its last operation, or outside of any."""
    begun = last(events, before, (Invoked,), process=[process])
    for index in range(fresh(events, process, before) + 1, before):
        mine = index in loads and getattr(events[index], "process", None) == process
        if mine and (index > begun or not calling(events, process, index)):
            return True
    return False


def is_end(events: list[Event], loads: set[int], event: Event) -> bool:
    """Whether an epoch ends at an event."""
    if isinstance(event, Committed):
        return True
    process = getattr(event, "process", None)
    if isinstance(event, Faulted) and process is None:
        return event.fault != "advance"
    assert process is not None
    writing = calling(events, process, event.index) == "write"
    match event:
        case Invoked():
            return event.f == "write"
        case Returned() if calling(events, process, event.index):
            return writing or (event.outcome is not Outcome.OK and hopes(events, loads, process, event.index))
        case Faulted():
            return writing or hopes(events, loads, process, event.index)
        case Exchanged():
            voids = writing and event.verb == "DEL" and not failed(event)
            return voids or (failed(event) and hopes(events, loads, process, event.index))
    return False


def is_free(events: list[Event], after: int) -> bool:
    """Whether, after an event, the cache is down or a write is open."""
    if last(events, after + 1, (Faulted,), fault=["kill"]) > last(
        events, after + 1, (Faulted,), fault=["start"]
    ):
        return True
    for process in range(3):
        call = last(events, after + 1, (Invoked,), process=[process])
        over = max(last(events, after + 1, (Returned,), process=[process]), fresh(events, process, after + 1))
        if call > over and getattr(events[call], "f", "") == "write":
            return True
    return False


def spans(events: list[Event]) -> Iterator[tuple[int, int, int]]:
    """(process, first epoch, last epoch) of what loads: each operation, and each process outside of them."""
    loads = {event.index for event in events if isinstance(event, Exchanged) and is_load(events, event)}
    bounds = [event.index for event in events if is_end(events, loads, event)]
    free = {place for place, bound in enumerate(bounds, start=1) if is_free(events, bound)}
    found: dict[Any, tuple[int, int, int]] = {}

    def epoch(index: int) -> int:
        return sum(bound <= index for bound in bounds)

    for event in events:
        if isinstance(event, Exchanged) and event.index in loads:
            process, end = event.process, epoch(event.index)
            since = fresh(events, process, event.index)
            which: Any = process, end
            if calling(events, process, event.index):
                which = last(events, event.index, (Invoked,), process=[process])
                since = next(
                    e.index for e in events[which:] if isinstance(e, Exchanged) and e.process == process
                )
            found[which] = process, epoch(since), end
    for process, first, end in found.values():
        if free.isdisjoint(range(first, end + 1)):
            yield process, first, end


def can_be_charged(charges: list[tuple[int, int, int]], room: int) -> bool:
    """Exhaustive: some epoch for each load, none with more than there is room for."""
    for epochs in product(*(range(first, end + 1) for _, first, end in charges)):
        if all(count <= room for count in Counter(epochs).values()):
            return True
    return False


# -- random histories -----------------------------------------------------------------------------------------

_WAYS = {
    "read": (
        "GET k -> nil",
        "SELECT k -> rows",
        "SELECT k -> rows",
        "SET k v1",
        "SET k v1 !lost",
        "GET k !lost",
    ),
    "write": ("UPDATE k", "DEL k -> 1", "SELECT k -> rows", "DEL k !lost"),
    "": ("SELECT k -> rows",),
}


def flights(seed: int, crashes: float) -> str:
    """What three clients and chance do, in at most 17 lines."""
    chance = random.Random(seed)
    at: dict[str, str | None] = dict.fromkeys("ABC", "")
    lines: list[str] = []
    for _ in range(chance.randint(5, 17)):
        who = chance.choice("ABC")
        doing = at[who]
        if chance.random() < 0.1:
            lines.append(
                chance.choice(("expire k", "kill cache", "start cache", "advance 5", f"{who} commits k v2"))
            )
        elif doing is None:
            lines.append(f"{who} restart")
            at[who] = ""
        elif chance.random() < crashes:
            lines.append(f"{who} crash")
            at[who] = None
        elif not doing and chance.random() < 0.85:
            at[who] = chance.choice(("read", "read", "read", "write"))
            lines.append(f"{who} {at[who]} k")
        elif doing and chance.random() < 0.3:
            lines.append(f"{who} {chance.choice(('ok', 'ok', 'ok', 'fail', 'info'))}")
            at[who] = ""
        else:
            lines.append(f"{who} {chance.choice(_WAYS[doing])}")
    return "\n".join(lines)


@pytest.mark.parametrize("per_process", (False, True))
def test_it_agrees_with_exhaustive_charging(per_process: bool) -> None:
    """5,000 histories each: a stampede is found exactly if no charging of the loads keeps every epoch at k."""
    seen: Counter[tuple[bool, bool]] = Counter()
    for seed in range(5_000):
        # The crash of a process ends epochs of its own copies: what that means is tested by itself.
        script = flights(seed, crashes=0.0 if per_process else 0.04)
        history = tell(script)
        events, room = list(history.events), 1 if per_process else 1 + seed % 2
        charges = list(spans(events))
        groups = [[item for item in charges if item[0] == process] for process in range(3)]
        legal = all(can_be_charged(group, room) for group in (groups if per_process else [charges]))
        judgement = SingleFlight(room, per_process).check(history)
        assert (judgement.findings == ()) == legal, script
        assert judgement.judged == len(charges)
        for finding in judgement.findings:
            assert finding.allowed is not None and finding.allowed[1] is not None
            assert finding.found == len(finding.at) > finding.allowed[1]
        seen[legal, bool(charges)] += 1
    assert seen[False, True] > 50 and seen[True, True] > 1_000


# -- planted -------------------------------------------------------------------------------------------------

READ = "{0} GET k -> nil\n{0} SELECT k -> rows\n{0} SET k v1\n{0} ok v1\n"


def read(who: str) -> str:
    return f"{who} read k\n" + READ.format(who)


def found(script: str, **options: Any) -> list[tuple[tuple[int, ...], str | None, int, float | None]]:
    """(the loads, who is one too many, how many others have an operation, what is allowed) of each finding."""
    out = []
    for finding in SingleFlight(**options).check(tell(script)).findings:
        assert (finding.property, finding.kind, finding.key) == ("single-flight", "stampede", "k")
        assert finding.found == len(finding.at) and finding.allowed is not None and finding.allowed[0] == 0
        who = "ABCD"[finding.culprit.process] if finding.culprit else None
        out.append((finding.at, who, len(finding.because), finding.allowed[1]))
    return out


WAVE = "A read k\nB read k\nC read k\nA GET k -> nil\nB GET k -> nil\nC GET k -> nil\n"
LANDS = "A SELECT k -> rows\nB SELECT k -> rows\nC SELECT k -> rows\nA ok v1\nB ok v1\nC ok v1\n"


def test_a_stampede_is_found() -> None:
    """The loads of the epoch, the first of them that is one too many, and the others."""
    assert found(WAVE + LANDS) == [((6, 7, 8), "B", 2, 1)]
    assert found(WAVE + LANDS, loads=2) == [((6, 7, 8), "C", 2, 2)]
    assert found(WAVE + LANDS, loads=3) == [] == found(WAVE + LANDS, per_process=True)


def test_each_epoch_has_its_own_finding() -> None:
    """What happened in one epoch does not count in the next."""
    assert found(WAVE + LANDS + "expire k\n" + WAVE + LANDS) == [
        ((6, 7, 8), "B", 2, 1),
        ((19, 20, 21), "B", 2, 1),
    ]
    assert found(WAVE + LANDS + "expire k\n" + read("A")) == [((6, 7, 8), "B", 2, 1)]


def test_a_waiter_that_loads_again_is_found() -> None:
    """It had missed before the fill, got the lock after it, and did not look again."""
    script = (
        "B read k\nB GET k -> nil\nB SET lock:k b NX -> nil\n"
        + read("A")
        + "B SET lock:k b NX\nB SELECT k -> rows"
    )
    assert found(script) == [((5, 9), "B", 1, 1)]


def test_a_lock_that_runs_out_under_a_slow_loader_is_no_excuse() -> None:
    """The second holder loads what the first is loading."""
    script = ("A read k\nA GET k -> nil\nA SET lock:k a NX\nadvance 5\nexpire lock:k\nB read k\nB GET k -> nil\n"
              "B SET lock:k b NX\nB SELECT k -> rows\nA SELECT k -> rows\n")  # fmt: skip
    assert found(script) == [((8, 9), "A", 1, 1)]


def test_absent_rows_are_loaded_by_everybody() -> None:
    """Penetration counts, unless absence is not claimed to be remembered."""
    script = (read("A") + read("B")).replace("rows", "empty")
    assert found(script) == [((2, 7), "B", 1, 1)]
    assert found(script, absent=False) == []


def test_a_process_by_itself_can_stampede() -> None:
    """Within one process as well, in total and for each; a start gives it a new copy to fill."""
    assert found(read("A") + read("A") + read("B"), per_process=True) == [((2, 7), "A", 1, 1)]
    assert found(read("A") + "A crash\nA restart\n" + read("A"), per_process=True) == []
    assert found(read("A") + "B crash\nB restart\n" + read("A")) == [((2, 9), "A", 1, 1)]


def test_the_background_loads_too() -> None:
    """Refreshes that run outside of operations have none to show; one may belong to an earlier epoch."""
    refresh = "A SELECT k -> rows\nB SELECT k -> rows\n"
    assert found(refresh) == [((0, 1), None, 0, 1)]
    assert found("expire k\n" + refresh) == []
    assert found("C read k\nC GET k\nC SELECT k -> rows\nC ok\nexpire k\n" + refresh) == [
        ((2, 5, 6), None, 1, 2)
    ]


def test_entries_that_age_by_themselves_need_a_lifetime() -> None:
    """A refresh when a lifetime has passed is in order, two are not."""
    assert found(read("A") + "advance 10\n" + read("B")) == [((2, 8), "B", 1, 1)]
    assert found(read("A") + "advance 10\n" + read("B"), lifetime_s=10.0) == []
    assert found(read("A") + "advance 9\n" + read("B"), lifetime_s=10.0) == [((2, 8), "B", 1, 1)]
    assert found(read("A") + "advance 10\n" + read("B") + read("C"), lifetime_s=10) == [((8, 13), "C", 1, 1)]


NEAR_MISSES = {
    "one load": read("A"),
    "a hit": read("A") + "B read k\nB GET k -> v1\nB ok v1",
    "the entry expired": read("A") + "expire k\n" + read("B"),
    "the entry was deleted by a write": read("A") + "C write k v2\nC DEL k -> 1\nC ok\n" + read("B"),
    "the cache restarted": read("A") + "kill cache\nstart cache\n" + read("B") + read("B").replace("k", "j"),
    "the cache is down": read("A") + "kill cache\n" + 2 * "B read k\nB SELECT k -> rows\nB ok v1\n",
    "a write is open": "C write k v2\nC SET quarantine:k 1\n" + read("A") + read("B") + "C ok",
    "the miss was seen before the entry was voided":
        "A read k\nA GET k -> nil\nC DEL k -> 1\nB read k\nB GET k -> nil\nA SELECT k -> rows\nB SELECT k -> rows",
    "the loader crashed": "A read k\nA GET k -> nil\nA SELECT k -> rows\nA crash\nA info\n" + read("B"),
    "the loader failed": "A read k\nA SELECT k -> rows\nA fail\n" + read("B"),
    "the load failed": "A read k\nA GET k\nA SELECT k -> error 57P01\n" + read("B"),
    "the load was lost": "A read k\nA GET k\nA SELECT k !lost\n" + read("B"),
    "the fill was lost": "A read k\nA GET k\nA SELECT k -> rows\nA SET k v1 !lost\n" + read("B"),
    "a load of two statements": "A read k\nA GET k -> nil\nA SELECT k -> rows\nA SELECT k -> rows\nA ok v1",
    "two keys": read("A") + read("A").replace("k", "j"),
    "a fallback": read("A") + "B read k\nB GET k !lost\nB SELECT k -> rows\nB ok v1",
    "an advisory lock":
        "B read k\nB SELECT pg_try_advisory_lock(k)\nA read k\nA SELECT pg_try_advisory_lock(k)\n" + READ.format("A"),
}  # fmt: skip


@pytest.mark.parametrize("title", NEAR_MISSES)
def test_near_misses_are_not_flagged(title: str) -> None:
    """There was good reason to load again, or it was no load."""
    assert found(NEAR_MISSES[title]) == []


def test_loads_are_judged() -> None:
    """Those that were not free; without any it is not exercised, and it needs no final reads."""
    assert SingleFlight().check(tell(read("A") + "expire k\n" + read("B"))).judged == 2
    assert SingleFlight().check(tell("kill cache\n" + read("A"))).verdict is Verdict.NOT_EXERCISED
    assert SingleFlight().check(History({"k": "v1"})).verdict is Verdict.NOT_EXERCISED
    assert SingleFlight().name == "single-flight" and SingleFlight().probes_s == ()


@pytest.mark.parametrize(
    "options",
    ({"loads": 0}, {"loads": 1.5}, {"loads": True}, {"lifetime_s": 0.0}, {"lifetime_s": float("inf")}),
)
def test_parameters_have_to_make_sense(options: dict[str, Any]) -> None:
    """Anything but a whole number of loads and a time is a usage error."""
    with pytest.raises(UsageError, match="expected"):
        SingleFlight(**options)
