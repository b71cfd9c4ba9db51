"""A read of several keys sees all of a transaction, or nothing of it."""

import random
from itertools import combinations, permutations
from typing import Any

import pytest

from cacheproof.models.atomic_reads import AtomicReads
from cacheproof.models.event import Committed, Event, Invoked, Returned
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.verdict import Verdict

KEYS = ("a", "b", "c")


def tell(script: str, initial: dict[str, Value] | None = None) -> History:
    """A history from words: `A write_many a=1 b=1`, `A write a=2`, `A read_many a b`, `A ok a=1 b=0`, `db a=1`.

    Values are strings; "-" is no record, and every key starts as "0".
    """
    events: list[Event] = []
    versions: dict[str, int] = {}
    calls: dict[int, Invoked] = {}
    for line in filter(str.strip, script.split(";")):
        who, word, *rest = line.split()
        stamp, process = (len(events), 0.0), ord(who[0]) - ord("A")
        if who == "db":
            for pair in (word, *rest):
                key, value = _pair(pair)
                versions[key] = versions.get(key, 0) + 1
                events.append(Committed(len(events), 0.0, key, value, versions[key]))
        elif word in list(Outcome):
            call = calls.pop(process)
            answer = tuple(map(_pair, rest)) if call.f == "read_many" else call.value
            events.append(Returned(*stamp, process, Outcome(word), answer))
        else:
            calls[process] = _call(stamp, process, word, rest)
            events.append(calls[process])
    return History(initial or dict.fromkeys(KEYS, "0"), tuple(events), 4)


def _pair(text: str) -> tuple[str, Value]:
    key, _, value = text.partition("=")
    return key, None if value == "-" else value


def _call(stamp: tuple[int, float], process: int, f: str, rest: list[str]) -> Invoked:
    if f == "write_many":
        return Invoked(*stamp, process, f, None, tuple(map(_pair, rest)))
    if f == "read_many":
        return Invoked(*stamp, process, f, None, tuple(rest))
    key, value = _pair(rest[0])
    return Invoked(*stamp, process, f, key, value if f == "write" else None)


# -- the definition ----------------------------------------------------------------------------------------


def _parts(history: History, key: str) -> list[tuple[Operation | None, Value]]:
    """Whoever may have written what to a key; None is the initial record."""
    found: list[tuple[Operation | None, Value]] = [(None, history.initial[key])]
    for op in history.operations:
        if op.outcome is Outcome.FAIL:
            continue
        if op.f == "write_many":
            wrote: dict[str, Value] = dict(op.value)  # type: ignore[arg-type]  # it is made of pairs
            found += [(op, wrote[key])] if key in wrote else []
        elif op.f == "write" and op.key == key:
            found.append((op, op.value))
        elif op.f == "delete" and op.key == key:
            found.append((op, None))
    return found


def by_definition(history: History, orders: dict[str, list[Any]]) -> set[tuple[int, str]]:
    """{(read, key that lags)}: fractured in every order of versions that real time and the database allow."""
    found = set()
    for read in history.operations:
        if read.f != "read_many" or read.outcome is not Outcome.OK:
            continue
        seen: dict[str, Value] = dict(read.result)  # type: ignore[arg-type]  # it is made of pairs
        for writer in history.operations:
            if writer.f != "write_many" or writer.outcome is Outcome.FAIL:
                continue
            wrote: dict[str, Value] = dict(writer.value)  # type: ignore[arg-type]  # it is made of pairs
            common = [key for key in wrote if key in seen]
            sees = any(
                [op for op, value in _parts(history, key) if value == seen[key]] == [writer] for key in common
            )
            for key in common:
                if sees and _lags(orders[key], seen[key], writer):
                    found.add((read.invoked, key))
    return found


def _orders(history: History, key: str) -> Any:
    """Every order of the versions of a key: the initial first, then as real time and commits have it."""
    initial, *others = _parts(history, key)
    commits = [commit.value for commit in history.commits.get(key, ())]
    known = [value for value in commits if value in {value for _, value in others}]
    for order in permutations(others):
        real = not any(two.precedes(one) for (one, _), (two, _) in combinations(order, 2) if one and two)
        if real and [value for _, value in order if value in commits] == known:
            yield (initial, *order)


def _lags(orders: list[Any], seen: Value, writer: Operation) -> bool:
    """Whether in every order all versions with this value come before the writer's."""
    places = [
        (
            [n for n, (_, value) in enumerate(order) if value == seen],
            next(n for n, (op, _) in enumerate(order) if op is writer),
        )
        for order in orders
    ]
    return all(versions and max(versions) < its for versions, its in places)


def random_history(chance: random.Random) -> History:
    """Two writers of transactions, one of single keys, one reader; values are new, except that some repeat."""
    lines: list[str] = []
    busy: dict[str, str] = {}
    number, shown = 0, {key: ["0"] for key in KEYS}
    for _ in range(chance.randint(4, 12)):
        who = chance.choice("ABCDD")
        if who in busy:
            keys = chance.sample(KEYS, chance.choice((2, 2, 3)))
            read = " ".join(f"{key}={chance.choice(shown[key])}" for key in keys)
            outcome = chance.choice(("ok",) * 6 + ("fail", "info"))
            lines.append(f"{who} {outcome} {read if busy.pop(who) == 'read_many' else ''}")
            continue
        busy[who] = {"A": "write_many", "B": "write_many", "C": "write", "D": "read_many"}[who]
        number += 1
        if busy[who] == "read_many":
            lines.append(f"{who} read_many a b c")
            continue
        keys = chance.sample(KEYS, 2 if busy[who] == "write_many" else 1)
        lines.append(f"{who} {busy[who]} " + " ".join(f"{key}={number}" for key in keys))
        for key in keys:
            shown[key] = [*shown[key], str(number)]
    for key in KEYS:
        if chance.random() < 0.5:
            versions = shown[key][1:]
            chance.shuffle(versions)
            lines += [f"db {key}={value}" for value in versions[: chance.randint(0, len(versions))]]
    return tell(";".join(lines))


def test_it_is_the_definition() -> None:
    """A read is fractured if it is in every order of versions; searched exhaustively.

    Histories whose commits contradict real time allow no order at all, and are left out.
    """
    chance = random.Random(7)
    refuted = upheld = checked = 0
    while checked < 10_000:
        history = random_history(chance)
        orders = {key: list(_orders(history, key)) for key in KEYS}
        if not all(orders.values()):
            continue
        checked += 1
        judgement = AtomicReads().check(history)
        got = {(f.culprit.invoked, f.key) for f in judgement.findings if f.culprit}
        assert got == by_definition(history, orders), history.to_jsonl()
        refuted += judgement.verdict is Verdict.REFUTED
        upheld += judgement.verdict is Verdict.UPHELD
    assert min(refuted, upheld) > 500


# -- examples ----------------------------------------------------------------------------------------------

FRACTURED = {
    "the initial record beside it": ("A write_many a=1 b=1; A ok; B read_many a b; B ok a=1 b=0", "b", []),
    "an older transaction beside it": (
        "A write_many a=1 b=1; A ok; A write_many b=2 a=2; A ok; B read_many a b; B ok a=1 b=2; db b=1 b=2",
        "a",
        [],
    ),
    "while it was being written": ("A write_many a=1 b=1; B read_many a b; B ok a=0 b=1; A ok", "a", []),
    "in doubt, but seen": ("A write_many a=1 b=1; A info; B read_many a b; B ok a=1 b=0", "b", []),
    "an older single write": (
        "C write b=1; C ok; A write_many a=2 b=2; A ok; B read_many a b; B ok a=2 b=1; db b=1 b=2",
        "b",
        ["1", "2"],
    ),
    "concurrent, but committed before": (
        "C write b=1; A write_many a=2 b=2; C ok; A ok; db b=1 b=2 a=2; B read_many a b; B ok a=2 b=1",
        "b",
        ["1", "2"],
    ),
    "no record, before it was deleted by nobody": (
        "A write_many a=1 b=1; A ok; C delete b=; C ok; A write_many a=2 b=2; A ok; B read_many a b; B ok a=2 b=-",
        "b",
        [],
    ),
    "a write that failed and was committed all the same has no say": (
        "C write b=9; C fail; C write b=1; C ok; A write_many a=2 b=2; A ok; db b=1 b=2 b=9; B read_many a b; B ok a=2 b=1",
        "b",
        ["1", "2"],
    ),
    "deleted together": ("A write_many a=1 b=-; A ok; B read_many a b; B ok a=1 b=0", "b", []),
}


@pytest.mark.parametrize("title", FRACTURED)
def test_a_fractured_read_is_found(title: str) -> None:
    """The read, the transaction of which it saw a part, the key that lags, and its versions."""
    script, key, versions = FRACTURED[title]
    history = tell(script)
    (finding,) = AtomicReads().check(history).findings
    assert (finding.property, finding.kind, finding.key) == ("atomic-reads", "fractured-read", key)
    assert finding.culprit is not None and finding.culprit.f == "read_many"
    assert [op.f for op in finding.because] == ["write_many"]
    if versions:
        assert [version.value for version in finding.versions] == versions


def test_every_key_that_lags_is_a_finding() -> None:
    """Once each, with the first transaction that shows it."""
    script = "A write_many a=1 b=1 c=1; A ok; B read_many a b c; B ok a=1 b=0 c=0"
    assert [finding.key for finding in AtomicReads().check(tell(script)).findings] == ["b", "c"]
    later = "A write_many a=1 b=1; A ok; A write_many c=2 b=2; A ok; B read_many a b c; B ok a=1 b=0 c=2"
    (finding,) = AtomicReads().check(tell(later)).findings
    assert finding.because[0].invoked == 0


NEAR_MISSES = {
    "all of it": "A write_many a=1 b=1; A ok; B read_many a b; B ok a=1 b=1",
    "nothing of it": "A write_many a=1 b=1; A ok; B read_many a b; B ok a=0 b=0",
    "one key is newer": (
        "A write_many a=1 b=1; A ok; C write b=2; C ok; B read_many a b; B ok a=1 b=2; db a=1 b=1 b=2"
    ),
    "concurrent writes have no order": (
        "C write b=2; A write_many a=1 b=1; C ok; A ok; B read_many a b; B ok a=1 b=2"
    ),
    "committed after it": (
        "C write b=2; A write_many a=1 b=1; C ok; A ok; db b=1 b=2; B read_many a b; B ok a=1 b=2"
    ),
    "committed before, and perhaps on its way again": (
        "C write b=2; A write_many a=1 b=1; D write b=2; C ok; A ok; db b=2 b=1; B read_many a b; B ok a=1 b=2"
    ),
    "the older write is in doubt": "C write b=2; C info; A write_many a=1 b=1; A ok; B read_many a b; B ok a=1 b=2",
    "the value may be somebody else's": (
        "A write_many a=1 b=1; A ok; C write a=1; C ok; B read_many a b; B ok a=1 b=0"
    ),
    "the value is that of the initial record": "A write_many a=0 b=1; A ok; B read_many a b; B ok a=0 b=0",
    "it failed: an aborted read": "A write_many a=1 b=1; A fail; B read_many a b; B ok a=1 b=0",
    "nobody wrote the other value": "A write_many a=1 b=1; A ok; B read_many a b; B ok a=1 b=9",
    "the read failed": "A write_many a=1 b=1; A ok; B read_many a b; B fail",
    "two wrote the older value, one of them was flushed late": (
        "C write b=1; C ok; D write b=1; D ok; A write_many a=2 b=2; A ok; db b=1 b=2 b=1;"
        "B read_many a b; B ok a=2 b=1"
    ),
    "a third write was flushed in the wrong order": (
        "C write b=9; C ok; C write b=1; C ok; A write_many a=2 b=2; A ok; db b=2 b=9;"
        "B read_many a b; B ok a=2 b=1"
    ),
    "the initial value came back, nobody knows how": (
        "A write_many a=1 b=1; A ok; db b=0; B read_many a b; B ok a=1 b=0"
    ),
    "a flush in the wrong order": (
        "C write b=1; C ok; A write_many a=2 b=2; A ok; db a=2 b=2 b=1; B read_many a b; B ok a=2 b=1"
    ),
    "the initial value came back": (
        "A write_many a=1 b=0; A ok; C write b=2; db b=0 b=2; B read_many a b; B ok a=1 b=2"
    ),
}


@pytest.mark.parametrize("title", NEAR_MISSES)
def test_near_misses_are_not_flagged(title: str) -> None:
    """Whole, newer, or without an order that is certain."""
    judgement = AtomicReads().check(tell(NEAR_MISSES[title]))
    assert judgement.findings == () and judgement.unknown is None


def test_reads_that_share_one_key_with_a_transaction_prove_nothing() -> None:
    """Judged are those that could be fractured."""
    assert AtomicReads().check(tell("A write_many a=1 b=1; A ok; B read_many a c; B ok a=1 c=0")).judged == 0
    assert (
        AtomicReads().check(tell("A write_many a=1 b=1; A fail; B read_many a b; B ok a=1 b=0")).judged == 0
    )
    whole = AtomicReads().check(tell("A write_many a=1 b=1; A ok; B read_many a b; B ok a=1 b=1"))
    assert whole.judged == 1 and whole.verdict is Verdict.UPHELD


def test_keys_that_are_new_count() -> None:
    """A record that did not exist before the run started as no record."""
    history = tell("A write_many a=1 new=1; A ok; B read_many a new; B ok a=1 new=-")
    assert [finding.key for finding in AtomicReads().check(history).findings] == ["new"]


def test_other_methods_leave_a_doubt() -> None:
    """With an increment on a shared key any version may be the newest; elsewhere it does not matter."""
    script = "C increment b=; C ok; A write_many a=1 b=1; A ok; B read_many a b; B ok a=1 b=0"
    judgement = AtomicReads().check(tell(script))
    assert judgement.verdict is Verdict.UNKNOWN and "increment" in (judgement.unknown or "")
    assert AtomicReads().check(tell(script.replace("increment b", "increment c"))).findings


@pytest.mark.parametrize("value", [None, "v1", (("a", 1, 2),), ("a", "b"), ((1, "v1"),)])
def test_what_cannot_be_read_leaves_a_doubt(value: Any) -> None:
    """An argument or a result that is not ((key, value), …)."""
    written = History({}, (Invoked(0, 0.0, 0, "write_many", None, value),), 1)
    assert "a write_many took" in (AtomicReads().check(written).unknown or "")
    call = Invoked(0, 0.0, 0, "read_many", None, ("a", "b"))
    read = History({}, (call, Returned(1, 0.0, 0, Outcome.OK, value)), 1)
    assert "a read_many returned" in (AtomicReads().check(read).unknown or "")


def test_it_needs_no_final_read() -> None:
    """Final reads are of single keys."""
    assert (AtomicReads().name, AtomicReads().probes_s) == ("atomic-reads", ())
