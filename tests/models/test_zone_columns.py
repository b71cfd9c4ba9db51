"""Zones on columns say what zones say, key by key and word by word, and a million operations take a moment."""

import random
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from cacheproof.models.columns import columns_of
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.verdict import Verdict
from cacheproof.models.zone_columns import check_columns, judge_columns
from cacheproof.models.zones import Linearizable, ZoneResult, check_register

OK, FAIL, INFO = Outcome.OK, Outcome.FAIL, Outcome.INFO

RANDOM_HISTORIES = 12_000
VALUES: tuple[Value, ...] = ("v0", "v1", "v2", None, 1, 1.0, True)


def random_operations(chance: random.Random, key: str, *, unique: bool) -> list[Operation]:
    """Up to 10 operations on a short clock, so that many intervals touch or coincide; in any order."""
    clock, wrote = chance.randint(4, 20), 0
    operations = []
    for process in range(chance.randint(0, 10)):
        invoked = chance.randrange(clock)
        returned = min(clock, invoked + chance.randrange(1 + clock // 2))
        outcome = chance.choice((OK,) * 8 + (INFO, FAIL))
        f = chance.choice(("read", "write")) if unique else chance.choice(("read", "read", "write", "delete"))
        value: Value = None
        if f == "write":
            wrote += 1
            value = f"v{wrote}" if unique else chance.choice(VALUES)
        elif f == "read":
            value = f"v{chance.randint(0, wrote + (chance.random() < 0.2))}"
            value = value if unique else chance.choice(VALUES)
        end = None if outcome is INFO else returned
        operations.append(Operation(process, f, key, value, invoked, end, outcome))
    if chance.random() < 0.02:
        operations.append(
            Operation(99, chance.choice(("push", "write")), key, (1,), 0, 1, chance.choice((OK, FAIL)))
        )
    return operations


def agree(operations: Sequence[Operation], initial: dict[str, Value]) -> dict[str, int]:
    """Compare all keys at once with zones.py, key by key; returns how often each verdict occurred."""
    by_key: dict[str, list[Operation]] = {key: [] for key in initial}
    for operation in operations:
        by_key[operation.key or ""].append(operation)
    found = check_columns(columns_of(operations, initial))
    seen: dict[str, int] = {}
    for key, mine in by_key.items():
        result = found.results.get(key, ZoneResult())
        if (result.unknown or "").endswith("holds one scalar"):
            assert any(isinstance(op.value, tuple) for op in mine)
            continue
        expected = check_register(mine, initial[key])
        assert result == expected, (initial[key], mine)
        name = expected.clash.kind if expected.clash else "doubt" if expected.unknown else "none"
        seen[name] = seen.get(name, 0) + 1
    return seen


def test_many_keys_at_once_agree_with_zones() -> None:
    """12,000 random histories, each a key of one: the same verdicts, doubts and evidence, for every kind."""
    chance = random.Random(1997)
    operations, initial = [], {}
    for number in range(RANDOM_HISTORIES):
        key = f"k{number}"
        initial[key] = chance.choice(("v0", "v0", None))
        operations += random_operations(chance, key, unique=chance.random() < 0.7)
    chance.shuffle(operations)
    seen = agree(operations, initial)
    kinds = {"none", "doubt", "stale-read", "non-linearizable", "fabricated", "aborted", "premature"}
    assert set(seen) == kinds and min(seen.values()) > 50, seen


def test_single_keys_agree_with_zones() -> None:
    """1,500 random histories one by one: the empty one, and those without writes, zones or clashes, too."""
    chance = random.Random(7)
    for _ in range(1_500):
        agree(
            random_operations(chance, "k", unique=chance.random() < 0.7), {"k": chance.choice(("v0", None))}
        )


def test_times_far_apart_agree_with_zones() -> None:
    """Event indices that leave no room for many keys on one line are compared by rank, with the same result."""
    chance = random.Random(11)
    operations, initial = [], {}
    for number in range(300):
        initial[f"k{number}"] = "v0"
        operations += random_operations(chance, f"k{number}", unique=True)
    spread = [
        Operation(
            op.process,
            op.f,
            op.key,
            op.value,
            op.invoked << 55,
            op.returned and op.returned << 55,
            op.outcome,
        )
        for op in operations
    ]
    assert len(agree(spread, initial)) == 6


def test_a_judgement_is_that_of_linearizable(happenings: Callable[..., History]) -> None:
    """Findings, doubts and the count of reads are those of the property, but for versions and staleness.

    Where values repeat, columns leave a doubt that the property may resolve.
    """
    seen = dict.fromkeys(Verdict, 0)
    for seed in range(1_500):
        history = happenings(seed, keys=2)
        expected, found = Linearizable().check(history), judge_columns(columns_of(history))
        seen[found.verdict] += 1
        assert found.judged == expected.judged
        if "more than one write" in (found.unknown or ""):
            assert {item.key for item in found.findings} <= {item.key for item in expected.findings}
            continue
        assert (found.verdict, found.judged, found.unknown) == (
            expected.verdict,
            expected.judged,
            expected.unknown,
        )
        for one, other in zip(found.findings, expected.findings, strict=True):
            assert (one.property, one.kind, one.key) == (other.property, other.kind, other.key)
            assert (one.culprit, one.because) == (other.culprit, other.because)
            assert (one.versions, one.stale_s) == ((), None)
    assert min(seen.values()) > 10, seen


def simulated(count: int, *, keys: int = 1, seed: int = 1) -> list[Operation]:
    """A valid history of 10 clients: each operation takes effect at some instant between call and return."""
    chance = random.Random(seed)
    state: dict[str, Value] = {}
    operations: list[Operation] = []
    pending: list[tuple[float, int, str, str, Value, int]] = []
    clock = wrote = 0
    idle = list(range(10))
    while len(operations) < count:
        if idle and (not pending or chance.random() < 0.5):
            process, f, key = idle.pop(), chance.choice(("read", "write")), f"k{chance.randrange(keys)}"
            wrote += f == "write"
            pending.append((chance.random(), process, f, key, wrote if f == "write" else None, clock))
        else:
            _, process, f, key, value, invoked = pending.pop(chance.randrange(len(pending)))
            if f == "write":
                state[key] = value
            else:
                value = state.get(key)
            operations.append(Operation(process, f, key, value, invoked, clock, OK))
            idle.append(process)
        clock += 1
    return sorted(operations, key=lambda op: op.invoked)


@pytest.mark.parametrize("keys", [1, 7, 4_000])
def test_large_histories_agree_with_zones(keys: int) -> None:
    """20,000 operations of a simulated register are valid, and one stale read near the end is found."""
    operations = simulated(20_000, keys=keys)
    initial: dict[str, Value] = {f"k{number}": None for number in range(keys)}
    assert set(agree(operations, initial)) == {"none"}
    place = next(at for at in range(19_000, 20_000) if operations[at].f == "read")
    read = operations[place]
    stale = next(op for op in operations if op.f == "write" and op.key == read.key).value
    operations[place] = Operation(read.process, "read", read.key, stale, read.invoked, read.returned, OK)
    seen = agree(operations, initial)
    assert seen.get("stale-read", 0) + seen.get("none", 0) == keys
    if keys < 100:
        (result,) = check_columns(columns_of(operations, initial)).results.values()
        assert result.clash is not None and result.clash.culprit == operations[place]


def test_what_is_no_register_leaves_a_doubt() -> None:
    """Other methods, and arrays; not if they failed, and not on calls without a key."""
    operations = [
        Operation(0, "increment", "a", 1, 0, 1, OK),
        Operation(0, "increment", "b", 1, 2, 3, FAIL),
        Operation(0, "write", "c", ("x", 1), 4, 5, OK),
        Operation(0, "write", "d", ("x", 1), 6, 7, FAIL),
        Operation(0, "read_many", None, (("d", None),), 8, 9, OK),
        Operation(0, "read", "d", None, 10, 11, OK),
        Operation(0, "read", "a", "nobody wrote this", 12, 13, OK),
    ]
    found = check_columns(columns_of(operations))
    assert found.judged == 1
    assert {key: result.unknown for key, result in found.results.items()} == {
        "a": "'increment' on 'a' is neither a read nor a write of the whole value",
        "c": "('x', 1) on 'c' is an array, and a register holds one scalar",
    }
    judgement = judge_columns(columns_of(operations))
    assert judgement.verdict is Verdict.UNKNOWN and "'increment' on 'a'" in (judgement.unknown or "")


def test_calls_without_a_key_are_nobodys() -> None:
    """A write and a read without a key belong to no register, not even to the first one."""
    operations = [
        Operation(0, "write", None, "v1", 0, 1, OK),
        Operation(0, "read", None, "v9", 2, 3, OK),
        Operation(0, "read", "k", "v0", 4, 5, OK),
    ]
    found = check_columns(columns_of(operations, {"k": "v0"}))
    assert found.results == {} and found.judged == 1
    assert (
        check_columns(columns_of(operations[:2])).judged == 0 and check_columns(columns_of([])).results == {}
    )


def test_hundreds_of_thousands_of_operations_take_moments() -> None:
    """O(n log n): 200,000 operations in a tenth of a second or so."""
    columns = columns_of(simulated(20_000), {"k0": None})
    copies = 10
    shifts = np.repeat(np.arange(copies), len(columns))
    many = {
        name: np.tile(getattr(columns, name), copies)
        for name in (
            "process",
            "f",
            "result",
            "error",
            "outcome",
            "final",
            "value",
            "invoked_s",
            "returned_s",
        )
    }
    span = int(columns.returned.max()) + 1
    large = type(columns)(
        **many,
        key=shifts.astype(np.int32),
        invoked=np.tile(columns.invoked, copies) + shifts * span,
        returned=np.tile(columns.returned, copies) + shifts * span,
        keys=tuple(f"k{number}" for number in range(copies)),
        values=columns.values,
        methods=columns.methods,
        errors=columns.errors,
        initial=np.repeat(columns.initial, copies),
    )
    begun = time.process_time()
    assert check_columns(large).results == {}
    assert time.process_time() - begun < 1
