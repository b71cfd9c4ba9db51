"""Sequential consistency agrees with trying every order, within a budget that it keeps."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from cacheproof.models import sequential
from cacheproof.models.errors import UsageError
from cacheproof.models.event import Event, Faulted, Invoked, Returned
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.sequential import Sequential
from cacheproof.models.verdict import Finding, Verdict

Draw = Callable[..., History]
OK, FAIL, INFO = Outcome.OK, Outcome.FAIL, Outcome.INFO
Call = tuple[int, str, str, Value, Outcome] | int

RANDOM_HISTORIES = 12_000


def recorded(calls: Sequence[Call]) -> History:
    """A history of calls one after the other; a number is a crash and restart of that client."""
    events: list[Event] = []
    for call in calls:
        if isinstance(call, int):
            events.append(Faulted(len(events), 0.0, "crash", call))
            events.append(Faulted(len(events), 0.0, "restart", call))
            continue
        process, f, key, value, outcome = call
        asked = None if f == "read" else value
        events.append(Invoked(len(events), 0.0, process, f, key, asked))
        events.append(Returned(len(events), 0.0, process, outcome, value if outcome is OK else asked))
    return History(dict.fromkeys("xyz", "v0"), tuple(events), 3)


Lanes = tuple[tuple[Operation, ...], ...]
Perhaps = tuple[tuple[Operation, int, int], ...]


def in_order(lanes: Lanes, perhaps: Perhaps, state: Mapping[str | None, Value]) -> bool:
    """Exhaustive search: every merge of the lanes, with ambiguous writes anywhere or nowhere.

    Such a write comes with the number of its lane and how much of that lane is left when it may come.
    """
    if not any(lanes):
        return True
    for number, lane in enumerate(lanes):
        if lane and (lane[0].f != "read" or lane[0].value == state.get(lane[0].key, "v0")):
            rest = (*lanes[:number], lane[1:], *lanes[number + 1 :])
            if in_order(rest, perhaps, {**state, lane[0].key: lane[0].value}):
                return True
    for place, (op, number, left) in enumerate(perhaps):
        others = perhaps[:place] + perhaps[place + 1 :]
        if len(lanes[number]) <= left and in_order(lanes, others, {**state, op.key: op.value}):
            return True
    return False


def by_definition(history: History) -> bool:
    """Whether there is a legal order of what happened, with any of what may have happened."""
    lanes: dict[int, list[Operation]] = {}
    lives: dict[int, int] = {}
    called = {op.invoked: op for op in history.operations}
    for event in history.events:
        if isinstance(event, Faulted) and event.process is not None:
            lives[event.process] = -event.index
        elif (op := called.get(event.index)) is not None:
            lanes.setdefault(lives.get(op.process, 1000 + op.process), []).append(op)
    perhaps = tuple(
        (op, number, sum(other.outcome is OK for other in lane[place:]))
        for number, lane in enumerate(lanes.values())
        for place, op in enumerate(lane)
        if op.outcome is INFO and op.f != "read"
    )
    return in_order(
        tuple(tuple(op for op in lane if op.outcome is OK) for lane in lanes.values()), perhaps, {}
    )


def random_history(chance: random.Random, *, unique: bool) -> History:
    """Up to seven operations of two or three clients on one or two keys."""
    clients, keys = chance.choice((2, 2, 3)), chance.choice(("x", "xy", "xy"))
    plan = [
        (
            chance.randrange(clients),
            chance.choice(("read", "read", "write", "write", "delete")),
            chance.choice(keys),
        )
        for _ in range(chance.randint(2, 7))
    ]
    values: dict[str, list[Value]] = {key: [] for key in keys}
    calls: list[Call] = []
    for number, (_, f, key) in enumerate(plan):
        if f != "read":
            text = f"v{number + 1 if unique else chance.randint(0, 2)}"
            values[key].append(None if f == "delete" and not (unique and None in values[key]) else text)
    fresh = {key: iter(items) for key, items in values.items()}
    for client, f, key in plan:
        value = chance.choice(["v0", *values[key], *values[key]]) if f == "read" else next(fresh[key])
        f = "write" if f == "delete" and value is not None else f
        calls += [client] if chance.random() < 0.05 else []
        calls.append((client, f, key, value, chance.choice((OK,) * 10 + (INFO, FAIL))))
    return recorded(calls)


def reduced(history: History, finding: Finding) -> History:
    """Only the operations that a finding names."""
    named = {op.invoked for op in (finding.culprit, *finding.because) if op}
    spans = {at for op in history.operations if op.invoked in named for at in (op.invoked, op.invoked + 1)}
    kept = [e for e in history.events if isinstance(e, Faulted) or e.index in spans]
    return History(history.initial, tuple(kept), history.processes)


@pytest.mark.parametrize("unique", [True, False], ids=["unique", "repeated"])
@pytest.mark.parametrize("saturated", [True, False], ids=["saturated", "searched"])
def test_it_agrees_with_every_order(unique: bool, saturated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """On 12,000 random histories the verdict is the exact one and never unknown, by saturation or without it,
    with unique values or repeated ones."""
    monkeypatch.setattr(sequential, "LARGEST", 20_000 if saturated else -1)
    chance, refuted = random.Random(1979), 0
    for _ in range(RANDOM_HISTORIES // 4):
        history = random_history(chance, unique=unique)
        judgement = Sequential().check(history)
        assert judgement.unknown is None
        assert (judgement.findings == ()) == by_definition(history), history.operations
        refuted += judgement.verdict is Verdict.REFUTED
        for finding in judgement.findings:
            assert finding.culprit is not None and finding.culprit.f == "read"
            assert finding.culprit not in finding.because
            if saturated and unique:
                assert not by_definition(reduced(history, finding)), finding
    assert 0.2 < refuted / (RANDOM_HISTORIES // 4) < 0.7


def short(operation: Operation) -> str:
    return f"{operation.f[0]}{str(operation.value or '')[1:]}@{operation.key}"


PLANTED = {
    "an older key after a newer one": (
        """
        A: |-w1@x-| |-w2@y-|
        B:                    |-r2@y-| |-r0@x-|
        """,
        "non-sequential",
        "r0@x",
        ["w1@x", "w2@y", "r2@y"],
    ),
    "each client missed what the other wrote": (
        """
        A: |-w1@x-| |-r0@y-|
        B: |-w2@y-| |-r0@x-|
        """,
        "non-sequential",
        "r0@x",
        ["w1@x", "w2@y", "r0@y"],
    ),
    "two readers disagree on the order of two keys": (
        """
        A: |-w1@x-|
        B: |-w2@y-|
        C:           |-r1@x-| |-r0@y-|
        D:           |-r2@y-| |-r0@x-|
        """,
        "non-sequential",
        "r0@x",
        ["w1@x", "w2@y", "r1@x", "r2@y", "r0@y"],
    ),
    "repeated values: the search is stuck": (
        """
        A: |-w2@x-| |-w2@x-| |-w1@x-| |-w3@y-|
        B:                                       |-r3@y-| |-r2@x-|
        """,
        "non-sequential",
        "r2@x",
        ["w2@x", "w1@x", "r3@y"],
    ),
    "repeated values: each waits for what the other does later": (
        """
        A: |-w3@z-| |-r2@y-|           |-w1@x-| |-w1@x-|
        B:                    |-r1@x-|                    |-w2@y-| |-w2@y-|
        """,
        "non-sequential",
        "r2@y",
        ["w3@z", "r1@x"],
    ),
    "repeated values: a write would end the initial record too early": (
        """
        A: |-w1@x-| |-w3@y-|
        B: |-w1@x-| |-w3@y-|
        C:                   |-r3@y-| |-r0@x-|
        """,
        "non-sequential",
        "r0@x",
        ["w1@x", "w1@x", "r3@y"],
    ),
    "a value that nobody wrote": ("A: |-w1@x-| |-r7@x-|", "fabricated", "r7@x", []),
    "the value of a failed write": ("A: |-w1@x-! |-r1@x-|", "aborted", "r1@x", ["w1@x"]),
}


@pytest.mark.parametrize("title", PLANTED)
def test_planted_violations_are_found(title: str, draw: Draw) -> None:
    """The read that cannot be explained is the culprit, beside what it cannot be reconciled with."""
    drawing, kind, culprit, because = PLANTED[title]
    judgement = Sequential().check(draw(drawing, dict.fromkeys("xyz", "v0")))
    (finding,) = judgement.findings
    assert (finding.property, finding.kind, finding.key) == ("sequential", kind, culprit[-1])
    assert finding.culprit is not None and short(finding.culprit) == culprit
    assert [short(op) for op in finding.because] == because
    assert judgement.judged == drawing.count("-r") and judgement.unknown is None


NEAR_MISSES = {
    "nothing at all": "",
    "lagging behind as a whole": """
        A: |-w1@x-| |-w2@y-|
        B:                    |-r0@y-| |-r0@x-| |-r1@x-| |-r2@y-|
    """,
    "one client missed what the other wrote": """
        A: |-w1@x-| |-r0@y-|
        B: |-w2@y-| |-r1@x-|
    """,
    "readers agree on the order of two keys": """
        A: |-w1@x-|
        B: |-w2@y-|
        C:           |-r1@x-| |-r0@y-|
        D:           |-r1@x-| |-r2@y-|
    """,
    "a value before its write, in real time only": """
        A:           |-w1@x-|
        B: |-r1@x-|
    """,
    "an ambiguous write between two reads of its client": "A: |-w1@x-? |-r0@x-| |-w2@y-| |-r1@x-|",
    "an ambiguous write that is overtaken": """
        A: |-w1@x-? |-w2@x-|
        B:                    |-r0@x-| |-r2@x-| |-r1@x-|
    """,
    "repeated values": """
        A: |-w1@x-| |-w2@x-| |-w1@x-|
        B:                             |-r1@x-| |-r2@x-| |-r1@x-| |-r1@x-|
    """,
    "repeated values: the same writes in the second order that is tried": """
        A: |-w1@x-|          |-w4@y-|
        B:          |-w2@x-|          |-w5@z-|
        C:                                     |-r4@y-| |-r5@z-| |-r1@x-| |-w3@y-|
        D:                                     |-r3@y-| |-w1@x-| |-w2@x-| |-r2@x-|
    """,
    "ambiguous and failed operations": "A: |-w1@x-| |-r? |-w2@x-! |-r! |-r1@x-|",
}


@pytest.mark.parametrize("title", NEAR_MISSES)
def test_near_misses_are_not_flagged(title: str, draw: Draw) -> None:
    """Old, but in one order for all: upheld."""
    drawing = NEAR_MISSES[title]
    judgement = Sequential().check(draw(drawing, dict.fromkeys("xyzk", "v0")))
    assert judgement.findings == () and judgement.unknown is None
    assert judgement.judged == drawing.count("-r") - drawing.count("-r?") - drawing.count("-r!")


def test_a_crash_begins_a_new_session() -> None:
    """What a client knew dies with it."""
    calls: list[Call] = [(0, "write", "x", "v1", OK), (0, "read", "x", "v0", OK)]
    assert Sequential().check(recorded(calls)).verdict is Verdict.REFUTED
    assert Sequential().check(recorded([calls[0], 0, calls[1]])).verdict is Verdict.UPHELD


def test_other_methods_leave_a_doubt(draw: Draw) -> None:
    """A key with an increment is left out; the others may still refute."""
    initial = dict.fromkeys("xyz", "v0")
    judgement = Sequential().check(draw("A: |-<increment>1@z-| |-w1@x-| |-r1@x-|", initial))
    assert judgement.verdict is Verdict.UNKNOWN and "increment" in (judgement.unknown or "")
    refuted = Sequential().check(draw("A: |-<increment>1@z-| |-w1@x-| |-r0@x-|", initial))
    assert refuted.verdict is Verdict.REFUTED and refuted.judged == 1


def test_the_budget_is_kept(draw: Draw) -> None:
    """Unknown, with the reason, as soon as the budget is used up: the same on every run."""
    history = draw(NEAR_MISSES["lagging behind as a whole"], {"x": "v0", "y": "v0"})
    judgement = Sequential(budget_steps=3).check(history)
    assert judgement.verdict is Verdict.UNKNOWN and "within 3 steps" in (judgement.unknown or "")
    assert Sequential(budget_steps=6).check(history).verdict is Verdict.UPHELD


def test_a_hard_history_ends_in_doubt() -> None:
    """Repeated values on many keys, and a read that cannot be: the search gives up, and in time."""
    chance = random.Random(3)
    calls: list[Call] = []
    for number in range(600):
        client, key = chance.randrange(12), chance.choice("xyz")
        f = chance.choice(("read", "write"))
        calls.append((client, f, key, f"v{chance.randint(0, 5)}", OK))
        calls += [(client, "write", key, f"v{number % 6}", INFO)] if number % 3 == 0 else []
    begun = time.process_time()
    judgement = Sequential(budget_steps=20_000).check(recorded(calls))
    assert judgement.verdict is Verdict.UNKNOWN
    assert time.process_time() - begun < 6


def lagging(count: int, clients: int) -> list[Call]:
    """One order of writes, which clients follow at their own pace; a writer has caught up."""
    chance = random.Random(8)
    log: list[tuple[str, str]] = []
    known, state = [0] * clients, [dict.fromkeys("xyz", "v0") for _ in range(clients)]
    calls: list[Call] = []
    for number in range(1, count + 1):
        me, key, writes = chance.randrange(clients), chance.choice("xyz"), chance.random() < 0.3
        log += [(key, f"v{number}")] * writes
        upto = len(log) if writes else chance.randint(known[me], min(len(log), known[me] + 20))
        state[me].update(log[known[me] : upto])
        known[me] = upto
        calls.append((me, "write" if writes else "read", key, state[me][key], OK))
    return calls


@pytest.mark.parametrize("saturated", [True, False])
def test_thousands_of_operations_take_moments(saturated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An order of 2,000 operations, far from linearizable, is found in about as many steps."""
    monkeypatch.setattr(sequential, "_SATURATION_STEPS", 10_000_000 if saturated else 1)
    history = recorded(lagging(2_000, 10))
    begun = time.process_time()
    assert Sequential(budget_steps=20_000).check(history).verdict is Verdict.UPHELD
    assert time.process_time() - begun < 3


@pytest.mark.parametrize("budget", [0, -1, True, 1.5, float("nan")])
def test_a_budget_is_a_number_of_steps(budget: Any) -> None:
    """At least one step."""
    with pytest.raises(UsageError, match="budget_steps"):
        Sequential(budget_steps=budget)


def test_it_asks_for_a_read_at_once() -> None:
    """The property needs no time to pass, and without reads it is not exercised."""
    assert Sequential().probes_s == (0.0,) and Sequential().name == "sequential"
    assert Sequential().check(recorded([(0, "write", "x", "v1", OK)])).verdict is Verdict.NOT_EXERCISED
