"""The general checker agrees with exhaustive search, and what it says can be checked by hand."""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import pytest

from cacheproof.models.errors import UsageError
from cacheproof.models.general import GeneralResult, KeyResult, LinearizableAs, check_linearizable
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.specifications import SPECIFICATIONS
from cacheproof.models.verdict import Verdict

Draw = Callable[..., History]
OK, FAIL, INFO = Outcome.OK, Outcome.FAIL, Outcome.INFO

RANDOM_HISTORIES = 10_000
"""For each of the six specifications."""

CROWDED_HISTORIES = 1_000
"""For each of the six specifications: up to 12 operations, most of them concurrent, up to half ambiguous."""

NO = object()


# What the models mean, once more and as plainly as possible: the state after a call, or NO.  Values here are
# strings, and ints in counters, so that equality is Python's.


def cas_after(state: Value, op: Operation) -> object:
    expected, wanted = op.value  # type: ignore[misc]  # always a pair
    if op.outcome is OK and op.result is not None:
        return (wanted if op.result else state) if (state == expected) == op.result else NO
    return wanted if state == expected else state


def mutex_after(state: Value, op: Operation) -> object:
    if op.outcome is OK and op.result is False:
        return state
    return NO if state == (op.f == "acquire") else op.f == "acquire"


def set_after(state: tuple[str, ...], op: Operation) -> object:
    others = [element for element in state if element != op.value]
    return tuple(sorted([*others, op.value] if op.f == "add" else others))  # type: ignore[type-var]  # strings


AFTER: dict[str, Callable[..., object]] = {
    "read": lambda state, op: state if state == op.value else NO,
    "write": lambda state, op: op.value,
    "delete": lambda state, op: None,
    "cas": cas_after,
    "increment": lambda state, op: state + op.value,
    "append": lambda state, op: (state or "") + op.value,
    "acquire": mutex_after,
    "release": mutex_after,
    "add": set_after,
    "remove": set_after,
}
FIRST: dict[str, Value] = {
    "cas-register": None,
    "counter": 0,
    "key-value": "",
    "mutex": False,
    "register": None,
    "set": (),
}
CALLS = {
    "cas-register": ("read", "read", "write", "cas", "cas", "delete"),
    "counter": ("read", "increment"),
    "key-value": ("read", "read", "read", "append", "append", "write", "delete"),
    "mutex": ("acquire", "release"),
    "register": ("read", "read", "read", "write", "write", "delete"),
    "set": ("read", "read", "read", "add", "add", "remove"),
}


def explained(must: Sequence[Operation], may: Sequence[Operation], state: object) -> bool:
    """Exhaustive search: every order that respects real time, of all that must and any of what may come.

    What has been tried once (which operations came, and the state) is not tried again.
    """
    operations, everything = (*must, *may), (1 << len(must)) - 1
    before = [sum(1 << n for n, other in enumerate(must) if other.precedes(op)) for op in operations]
    tried = set()
    waiting = [(0, state)]
    while waiting:
        came, state = waiting.pop()
        if came & everything == everything:
            return True
        if (came, state) not in tried:
            tried.add((came, state))
            for n, op in enumerate(operations):
                if not came >> n & 1 and not before[n] & ~came:
                    after = AFTER[op.f](state, op)
                    waiting += [] if after is NO else [(came | 1 << n, after)]
    return False


def by_return(operations: Iterable[Operation]) -> list[Operation]:
    ok = [op for op in operations if op.outcome is OK]
    return sorted(ok, key=lambda op: (op.returned, op.invoked))


def assert_order(order: Sequence[Operation], state: object) -> None:
    """The order respects real time and the model, and has nothing twice."""
    assert len({id(op) for op in order}) == len(order)
    for place, op in enumerate(order):
        assert not any(later.precedes(op) for later in order[place:])
        state = AFTER[op.f](state, op)
        assert state is not NO


def assert_evidence(result: KeyResult, operations: Sequence[Operation], state: Value) -> None:
    """The order of an upheld history has all that happened; a prefix is an order, and as long as can be."""
    assert_order(result.order, state)
    assert all(op.outcome is not FAIL for op in result.order)
    ok = by_return(operations)
    if result.verdict is Verdict.UPHELD:
        assert {id(op) for op in ok} <= {id(op) for op in result.order} and result.stuck == ()
        return
    place = next(place for place, op in enumerate(ok) if op is result.stuck[0])
    came = {id(op) for op in result.order}
    assert all(id(op) in came for op in ok[:place])
    rest = [op for op in operations if op.outcome is INFO] + ok[place + 1 :]
    assert not explained(ok[: place + 1], rest, state)
    assert all(id(op) not in came and op.outcome is OK for op in result.stuck)


def argument(chance: random.Random, f: str) -> Value:
    letters = "ab"
    if f in ("read", "delete", "acquire", "release"):
        return None
    if f == "increment":
        return chance.choice((1, 1, 2, -1))
    if f == "cas":
        return chance.choice((None, *letters)), chance.choice(letters)
    return chance.choice(letters)


def ended(chance: random.Random, op: Operation, state: object) -> tuple[Operation, object]:
    """The operation as it ends in this state, if it happens at the moment, and the state after it."""
    if op.f == "read":
        return replace(op, value=state), state  # type: ignore[arg-type]  # states are values here
    if op.f == "cas" and op.outcome is OK:
        op = replace(op, result=chance.choice((state == op.value[0], state == op.value[0], None)))  # type: ignore[index]
    after = AFTER[op.f](state, op)
    return (replace(op, result=False), state) if after is NO else (op, after)


def random_operations(chance: random.Random, model: str, *, crowded: bool = False) -> list[Operation]:
    """Operations that a correct object performed on a clock so short that many intervals touch; then, mostly,
    some of them are told differently."""
    state: object = FIRST[model]
    states, operations = [state], []
    clock, count = chance.randint(4, 24), chance.randint(2, 8)
    width, outcomes = 4, (OK,) * 9 + (INFO, INFO, FAIL)
    if crowded:
        clock, count, width = chance.randint(4, 16), chance.randint(6, 12), chance.randint(4, 14)
        outcomes = (OK,) * 6 + (INFO,) * chance.choice((0, 2, 5))
    for moment in sorted(chance.choices(range(clock), k=count)):
        f, outcome = chance.choice(CALLS[model]), chance.choice(outcomes)
        invoked, returned = moment - chance.randrange(width), moment + chance.randrange(width)
        op = Operation(len(operations), f, "k", argument(chance, f), invoked, returned, outcome)
        if outcome is OK or (outcome is INFO and chance.random() < 0.6):
            op, state = ended(chance, op, state)
        states.append(state)
        operations.append(op if outcome is not INFO else replace(op, returned=None, result=None))
    for _ in range(chance.choice((0, 3, 6, 9))):
        place = chance.randrange(len(operations))
        operations[place] = retold(chance, operations[place], states)
    chance.shuffle(operations)
    return operations


def retold(chance: random.Random, op: Operation, states: Sequence[object]) -> Operation:
    """The operation at another time, or with another result."""
    if op.f == "read" and op.outcome is OK and chance.random() < 0.8:
        return replace(op, value=chance.choice(states))  # type: ignore[arg-type]  # states are values here
    if op.f in ("acquire", "release", "cas") and op.outcome is OK and chance.random() < 0.5:
        return replace(op, result=op.result is False)
    moved = chance.choice((-9, -6, -3, 3, 6, 9))
    returned = None if op.returned is None else op.returned + moved
    return replace(op, invoked=op.invoked + moved, returned=returned)


def check(operations: Sequence[Operation], model: str, **options: int) -> KeyResult:
    (result,) = check_linearizable(operations, SPECIFICATIONS[model], **options).keys  # type: ignore[arg-type]
    return result


def agrees(operations: Sequence[Operation], model: str) -> bool:
    """The verdict and the evidence are right.  Returns whether the history is linearizable."""
    ambiguous = [op for op in operations if op.outcome is INFO]
    expected = explained(by_return(operations), ambiguous, FIRST[model])
    result = check(operations, model)
    assert result.verdict is (Verdict.UPHELD if expected else Verdict.REFUTED), operations
    assert_evidence(result, operations, FIRST[model])
    return expected


@pytest.mark.parametrize("model", CALLS)
def test_it_agrees_with_exhaustive_search(model: str) -> None:
    """On 10,000 random histories the verdict is the exact one, and the evidence for it holds: an order, or the
    longest prefix that has one."""
    chance, upheld = random.Random(1993), 0
    for _ in range(RANDOM_HISTORIES):
        operations = random_operations(chance, model)
        if any(op.outcome is not FAIL for op in operations):
            upheld += agrees(operations, model)
    assert 0.15 < upheld / RANDOM_HISTORIES < 0.85, upheld


@pytest.mark.parametrize("model", CALLS)
def test_it_agrees_where_nearly_everything_is_concurrent(model: str) -> None:
    """On 1,000 crowded histories as well, where the rules that shorten the search have most to do."""
    chance, upheld = random.Random(2017), 0
    for _ in range(CROWDED_HISTORIES):
        upheld += agrees(random_operations(chance, model, crowded=True), model)
    assert 0.05 < 1 - upheld / CROWDED_HISTORIES < 0.95, upheld


def test_an_ambiguous_write_may_only_have_hidden_another() -> None:
    """The delete changed nothing that anybody saw, but the write that came before it was undone by it."""
    operations = [
        Operation(0, "cas", "k", (None, "a"), 0, 10, OK, result=True),
        Operation(1, "write", "k", "b", 2, 15, OK),
        Operation(2, "delete", "k", None, 1, None, INFO),
        Operation(3, "read", "k", "a", 16, 18, OK),
    ]
    assert agrees(operations, "cas-register")
    assert not agrees([*operations[:2], operations[3]], "cas-register")


def busy(seed: int, *, clients: int, keys: int, count: int) -> list[Operation]:
    """What clients that are never idle do to cas-registers; each operation takes effect at a random moment."""
    chance, free, planned = random.Random(seed), [0] * clients, []
    for number in range(count):
        client = min(range(clients), key=lambda n: free[n])
        invoked = free[client] + chance.randint(1, 3)
        returned = invoked + chance.randint(1, 40)
        free[client] = returned
        f = chance.choice(("read", "read", "write", "cas"))
        value: Value = f"v{number}" if f == "write" else None
        op = Operation(client, f, f"k{chance.randrange(keys)}", value, invoked, returned, OK)
        planned.append((chance.uniform(invoked, returned), op))
    held: dict[str | None, Value] = {}
    done = []
    for _, op in sorted(planned, key=lambda item: item[0]):
        if op.f == "cas":
            expected = held.get(op.key) if chance.random() < 0.5 else "other"
            op = replace(op, value=(expected, f"c{len(done)}"))
        op, held[op.key] = ended(chance, op, held.get(op.key))  # type: ignore[assignment]  # states are values
        done.append(op)
    return done


def spoiled(operations: Sequence[Operation]) -> list[Operation]:
    """The last read returns what the first one did, long ago."""
    reads = [op for op in operations if op.f == "read"]
    last = max((op for op in reads if op.key == reads[0].key), key=lambda op: op.invoked)
    return [replace(op, value=reads[0].value) if op is last else op for op in operations]


@pytest.mark.parametrize("seed", range(3))
def test_fifty_clients_on_ten_keys(seed: int) -> None:
    """2,000 operations take a hundredth of the budget, whether they are linearizable or one read is stale."""
    operations = busy(seed, clients=50, keys=10, count=2_000)
    for history, verdict in ((operations, Verdict.UPHELD), (spoiled(operations), Verdict.REFUTED)):
        result = check_linearizable(history, SPECIFICATIONS["cas-register"], stop_early=False)
        assert result.verdict is verdict
        assert result.steps < 20_000
        for item in result.keys:
            assert_order(item.order, None)


def ambiguous_writes(count: int, values: int) -> list[Operation]:
    return [Operation(100 + n, "write", "k", f"v{n % values}", n, None, INFO) for n in range(count)]


def reads(values: Iterable[str], start: int) -> list[Operation]:
    return [
        Operation(0, "read", "k", value, start + 2 * n, start + 2 * n + 1, OK)
        for n, value in enumerate(values)
    ]


@pytest.mark.parametrize("values", [1, 5, 200])
def test_two_hundred_ambiguous_operations(values: int) -> None:
    """Each may explain one change of what is read, and no more: with equal values, with a few, with none equal."""
    ambiguous = ambiguous_writes(200, values)
    seen = [f"v{n % values}" for n in range(199, -1, -1)]
    upheld = check([*ambiguous, *reads(seen, 300)], "register")
    assert upheld.verdict is Verdict.UPHELD and upheld.steps < 10_000
    once_more = [*seen, "v0", "v1"] if values > 1 else [*seen, "v1"]
    refuted = check([*ambiguous, *reads(once_more, 300)], "register")
    assert refuted.verdict is Verdict.REFUTED and refuted.steps < 50_000
    assert len(refuted.order) >= len(seen)


def test_two_hundred_ambiguous_operations_of_all_kinds_end_within_the_budget() -> None:
    """Ambiguous writes and compare-and-sets over five values make any chain of states: the search may have to
    give up, but it ends, and says so."""
    chance = random.Random(8)
    operations = [op for op in ambiguous_writes(200, 5) if op.invoked % 2]
    for n in range(100):
        change = (f"v{chance.randrange(5)}", f"v{chance.randrange(5)}")
        operations.append(Operation(300 + n, "cas", "k", change, 2 * n, None, INFO))
    operations += reads([f"v{chance.randrange(5)}" for _ in range(150)], 400)
    result = check(operations, "cas-register", budget_steps=100_000)
    assert result.verdict in (Verdict.UNKNOWN, Verdict.UPHELD, Verdict.REFUTED)
    assert result.steps < 110_000 and (result.verdict is Verdict.UNKNOWN) == (result.unknown is not None)


def hard(key: str = "k") -> list[Operation]:
    """Twenty concurrent increments by different powers of two, then a read that only one subset explains."""
    operations = [Operation(n, "increment", key, 3**n, 0, None, INFO) for n in range(20)]
    return [*operations, Operation(20, "read", key, 3**20, 1, 2, OK)]


def test_at_the_end_of_the_budget_it_is_unknown() -> None:
    """Steps and configurations are counted, not seconds; what was found so far is reported, and it repeats."""
    by_steps = check(hard(), "counter", budget_steps=5_000)
    assert by_steps.verdict is Verdict.UNKNOWN and by_steps.unknown == "no verdict within 5000 steps"
    assert 5_000 <= by_steps.steps < 5_200 and by_steps.stuck == () and by_steps.judged == 0
    by_memory = check(hard(), "counter", budget_configurations=100)
    assert by_memory.unknown == "no verdict within 100 configurations"
    assert 100 <= by_memory.configurations < 130
    assert check(hard(), "counter", budget_steps=5_000) == by_steps


def stale(key: str, *, length: int = 1) -> list[Operation]:
    """Writes and reads of them, and a last read of no record."""
    operations = []
    for n in range(length):
        operations.append(Operation(0, "write", key, f"v{n}", 4 * n, 4 * n + 1, OK))
        operations.append(Operation(0, "read", key, f"v{n}", 4 * n + 2, 4 * n + 3, OK))
    return [*operations, Operation(1, "read", key, None, 4 * length, 4 * length + 1, OK)]


def test_a_hard_key_does_not_hide_an_easy_violation() -> None:
    """Keys take turns, so the counter that cannot be decided does not keep the wrong one from being found."""
    wrong = [Operation(0, "increment", "b", 1, 0, 1, OK), Operation(0, "read", "b", 0, 2, 3, OK)]
    result = check_linearizable([*hard("a"), *wrong], SPECIFICATIONS["counter"])
    assert result.verdict is Verdict.REFUTED and result.steps < 20_000
    a, b = result.keys
    assert (a.key, b.key) == ("a", "b") and a.verdict is Verdict.UNKNOWN and b.verdict is Verdict.REFUTED
    assert (
        result.unknown
        == a.unknown
        == "not decided: the search ended at the first key that is not linearizable"
    )


def test_it_stops_at_the_first_violation_unless_told_otherwise() -> None:
    """Of two keys that are wrong, one is found, or both."""
    operations = [*stale("a", length=3_000), *stale("b"), *stale("c")]
    first = check_linearizable(operations, SPECIFICATIONS["register"])
    assert [item.key for item in first.refuted] == ["b"]
    every = check_linearizable(operations, SPECIFICATIONS["register"], stop_early=False)
    assert [item.key for item in every.refuted] == ["a", "b", "c"] and every.unknown is None


def test_keys_are_judged_by_themselves_unless_the_specification_says_otherwise() -> None:
    """Two locks may be held at once; one lock that all keys share may not."""
    operations = [Operation(0, "acquire", "a", None, 0, 1, OK), Operation(1, "acquire", "b", None, 2, 3, OK)]
    mutex = SPECIFICATIONS["mutex"]
    assert check_linearizable(operations, mutex).verdict is Verdict.UPHELD
    (shared,) = check_linearizable(operations, replace(mutex, by_key=False)).keys
    assert (shared.key, shared.verdict, shared.stuck) == (None, Verdict.REFUTED, (operations[1],))


def test_the_budget_may_end_before_the_first_wrong_return_is_known() -> None:
    """Then it is refuted all the same, with a later culprit: up to its return there is no order either."""
    slow = Operation(1, "read", "k", "x", 0, 999, OK)
    operations = [slow, *stale("k", length=20), Operation(0, "read", "k", "v19", 500, 501, OK)]
    exact, hasty = check(operations, "register"), check(operations, "register", budget_steps=10)
    (wrong,) = exact.stuck[:1]
    assert (wrong.value, len(exact.order)) == (None, 40) and exact.stuck == (wrong, slow)
    assert hasty.verdict is Verdict.REFUTED and hasty.stuck == (slow,)
    assert_order(hasty.order, None)
    assert len(hasty.order) < 40


def test_nothing_to_judge() -> None:
    """No operation, or none that happened: not exercised.  Ambiguous ones alone have an order: the empty one."""
    assert check_linearizable([], SPECIFICATIONS["set"]).verdict is Verdict.NOT_EXERCISED
    failed = Operation(0, "add", "k", "a", 0, 1, FAIL)
    assert check_linearizable([failed], SPECIFICATIONS["set"]) == GeneralResult()
    result = check([replace(failed, outcome=INFO, returned=None)], "set")
    assert (result.verdict, result.order, result.judged) == (Verdict.UPHELD, (), 0)


def test_what_it_does_not_know_leaves_a_doubt() -> None:
    """A call that is no call of the model, an argument that does not fit, or a value that is no start."""
    stray = Operation(0, "increment", "k", 1, 0, 1, OK)
    assert check([stray], "register").unknown == "'increment' is no call of a register"
    fitted = replace(stray, value="1")
    assert check([fitted], "counter").unknown == "'increment' of a counter does not take '1'"
    (result,) = check_linearizable([stray], SPECIFICATIONS["counter"], initial={"k": "v0"}).keys
    assert result.verdict is Verdict.UNKNOWN and "'v0'" in (result.unknown or "")
    assert (
        check([replace(stray, outcome=FAIL), Operation(0, "read", "k", None, 2, 3, OK)], "register").judged
        == 1
    )


def test_calls_without_a_key() -> None:
    """A lock may have no name.  What only fills the cache is left aside; what may write anywhere is a doubt."""
    lock = Operation(0, "acquire", None, None, 0, 1, OK)
    assert check([lock, replace(lock, f="warm_up")], "mutex").verdict is Verdict.UPHELD
    result = check([Operation(0, "read", "k", None, 0, 1, OK), replace(lock, f="write_many")], "register")
    assert result.unknown == "'write_many' is no call of a register"


PLANTED = {
    "a stale read": ("A: |-w1-| |-w2-|\nB:                |-r1-|", "r1", ["w1", "w2"]),
    "two deletes, and a value that comes back": (
        "A: |-w1-| |-d-|\nB:                |-r-| |-r1-| |-d-|",
        "r1",
        ["w1", "d", "r"],
    ),
    "two reads at once that the writes cannot both explain": (
        "A: |-w1-| |-w2-| |-w3-|\nB:                        |--r1--|\nC:                         |-r2-|",
        "r2",
        ["w1", "w2", "w3", "r1"],
    ),
    "one ambiguous write cannot come twice": (
        "A: |-w1-? \nB: |-w2-| |-r1-| |-w2-| |-r2-| |-r1-|",
        "r1",
        ["r1", "w2", "r2"],
    ),
}


def short(operation: Operation) -> str:
    return f"{operation.f[0]}{(str(operation.value or ''))[1:]}"


@pytest.mark.parametrize("title", PLANTED)
def test_a_planted_violation_is_found(title: str, draw: Draw) -> None:
    """The culprit is the first return that no order explains, with the end of the prefix before it."""
    drawing, culprit, because = PLANTED[title]
    judgement = LinearizableAs("register").check(draw(drawing))
    (finding,) = judgement.findings
    assert (finding.property, finding.kind, finding.key) == ("linearizable-as", "non-linearizable", "k")
    assert finding.culprit is not None and short(finding.culprit) == culprit
    assert [short(op) for op in finding.because] == because
    assert judgement.verdict is Verdict.REFUTED and judgement.judged == drawing.count("r")


NEAR_MISSES = {
    "nothing": "",
    "two deletes": "A: |-d-| |-w1-| |-d-| |-r-|",
    "the same value twice": "A: |-w1-| |-w2-| |-w1-| |-r1-|",
    "touching is concurrent": "A: |-w1-|\nB:      |-r0-|",
    "an ambiguous write comes late": "A: |-w1-?\nB: |-w2-| |-r2-| |-r1-|",
    "an ambiguous write never comes": "A: |-w1-?\nB: |-r0-| |-r0-|",
    "failed and ambiguous calls say nothing": "A: |-w1-!  |-r7-?  |-r7-!  |-r0-|",
    "keys are independent": "A: |-w1@a-|  |-w2@b-|\nB:                     |-r1@a-|  |-r2@b-|",
    "overwritten while nobody looked": "A: |----w1-----|\nB: |-w2-| |-r2-|\nC:               |-r2-|",
}


@pytest.mark.parametrize("title", NEAR_MISSES)
def test_near_misses_are_upheld(title: str, draw: Draw) -> None:
    """What a register may do is not flagged."""
    judgement = LinearizableAs("register").check(draw(NEAR_MISSES[title]))
    assert judgement.findings == () and judgement.unknown is None


def test_a_history_names_the_values_that_keys_start_with(draw: Draw) -> None:
    """Each key starts with the value that it had before the run, any other with that of the model."""
    history = draw("A: |-r0-| |-r0@a-| |-r@b-|", {"k": "v0", "a": "v0"})
    assert LinearizableAs("register").check(history).verdict is Verdict.UPHELD
    assert LinearizableAs("key-value").check(history).findings[0].key == "b"


def test_parameters_are_checked() -> None:
    """A model that does not exist, or no budget at all, is an error of whoever asks."""
    with pytest.raises(UsageError, match="no model is called 'queue'; choose one of cas-register, counter"):
        LinearizableAs("queue")
    with pytest.raises(UsageError, match="budget_steps is 0"):
        LinearizableAs("set", budget_steps=0)
    assert LinearizableAs("set").probes_s == (0.0,)


def test_the_budget_of_the_property_leaves_a_doubt(draw: Draw) -> None:
    """Too few steps: unknown, with the reason."""
    judgement = LinearizableAs("register", budget_steps=1).check(draw("A: |-w1-| |-r1-|\nB: |-w2@a-|"))
    assert judgement.verdict is Verdict.UNKNOWN and judgement.unknown == "no verdict within 1 steps"
