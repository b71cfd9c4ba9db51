"""The search goes on in all ways that matter, in none twice, and can be interrupted after any step."""

import random
from collections.abc import Callable, Iterator
from itertools import permutations

import pytest

from cacheproof.models.fronts import Machine, Timeline
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.order_search import Search
from cacheproof.models.specifications import REJECTED, SPECIFICATIONS

OK, INFO = Outcome.OK, Outcome.INFO
PLENTY = 10**6
RANDOM_HISTORIES = 3_000


def call(f: str, value: Value, invoked: int, returned: int | None, result: Value = None) -> Operation:
    return Operation(0, f, "k", value, invoked, returned, INFO if returned is None else OK, result=result)


def timeline(model: str, *calls: Operation) -> Timeline:
    specification = SPECIFICATIONS[model]
    return Timeline(Machine(specification, specification.initial), calls)


def finished(model: str, *calls: Operation, end: int | None = None) -> Search:
    laid_out = timeline(model, *calls)
    search = Search(laid_out, len(laid_out.calls) if end is None else end)
    search.run(PLENTY, PLENTY)
    return search


def told(search: Search) -> list[tuple[str, Value]]:
    return [(op.f, op.value) for op in search.order()]


def test_no_calls_have_an_order() -> None:
    """The empty one."""
    search = finished("register")
    assert search.found and search.order() == () and search.furthest == 0


def test_reads_come_by_themselves() -> None:
    """Rule 1: nothing is tried where everything can come at once."""
    calls = [call("read", None, 0, 9) for _ in range(20)] + [call("cas", ("a", "b"), 0, 9, False)]
    search = finished("cas-register", *calls)
    assert search.found and search.configurations == 0 and len(search.order()) == 21


@pytest.mark.parametrize(
    ("calls", "most"),
    [
        # rule 2: equal increments come in the order in which they return
        ([call("increment", 1, 0, 9 + n) for n in range(30)] + [call("read", 99, 0, 50)], 40),
        # rule 2: equal ambiguous increments come in the order in which they were invoked
        ([call("increment", 1, n, None) for n in range(30)] + [call("read", 99, 40, 41)], 40),
    ],
)
def test_equal_calls_come_in_one_order(calls: list[Operation], most: int) -> None:
    """Of 30 equal calls there are 30 subsets to try, and not 2 to the power of 30."""
    search = finished("counter", *calls)
    assert search.found is False and search.configurations < most


def test_an_ambiguous_call_waits_for_an_equal_one_that_returned() -> None:
    """Rule 2: the write that returned comes first; the ambiguous one is there to come again."""
    calls = [call("write", "a", 0, None), call("write", "a", 1, 9), call("write", "b", 1, 9)]
    search = finished(
        "register", *calls, call("read", "a", 2, 3), call("read", "b", 4, 5), call("read", "a", 6, 7)
    )
    assert search.found and [op.returned for op in search.order() if op.value == "a"] == [9, 3, None, 7]


def test_an_ambiguous_call_comes_only_to_be_seen() -> None:
    """Rule 3: of ten writes, the nine that nobody read never come."""
    calls = [call("write", f"v{n}", 0, None) for n in range(10)]
    search = finished(
        "register", *calls, call("write", "a", 1, 2), call("read", "a", 3, 4), call("read", "v7", 5, 6)
    )
    assert told(search) == [("write", "a"), ("read", "a"), ("write", "v7"), ("read", "v7")]
    assert search.found and search.configurations < 5


def test_what_is_rejected_now_may_come_later() -> None:
    """Concurrent compare-and-sets come in the order in which each finds what it expects."""
    chain = [call("cas", (f"v{n}", f"v{n + 1}"), 0, 20 - n, True) for n in range(8)]
    search = finished("cas-register", *chain, call("cas", (None, "v0"), 0, 30, True))
    assert search.found and told(search) == [("cas", (None, "v0"))] + [("cas", op.value) for op in chain]


def test_a_chain_of_ambiguous_calls_may_be_needed() -> None:
    """Rule 3: each of them is seen by the next."""
    search = finished(
        "cas-register",
        call("write", "a", 0, None),
        call("cas", ("a", "b"), 0, None),
        call("cas", ("b", "c"), 0, None),
        call("write", "c", 0, None),
        call("read", "b", 1, 2),
        call("read", "c", 3, 4),
        call("read", "c", 5, 6),
    )
    assert search.found
    assert told(search)[:3] == [("write", "a"), ("cas", ("a", "b")), ("read", "b")]


def test_writes_that_nobody_saw_are_put_right_before_another() -> None:
    """Rule 4: twenty concurrent writes, one of them read, take a few configurations; all are in the order."""
    writes = [call("write", f"v{n}", 0, 10 + n) for n in range(20)]
    search = finished("register", *writes, call("read", "v3", 40, 41), call("read", "v4", 42, 43))
    assert search.found is False and search.configurations < 2_000
    search = finished("register", *writes, call("read", "v3", 40, 41))
    order = told(search)
    assert search.found and len(order) == 21 and order[-2:] == [("write", "v3"), ("read", "v3")]


def test_a_write_that_is_excused_may_still_be_seen() -> None:
    """Rule 4: it comes later, as it was invoked earlier and had not returned."""
    search = finished(
        "register",
        call("write", "a", 0, 20),
        call("write", "b", 1, 2),
        call("read", "b", 3, 4),
        call("read", "a", 5, 6),
    )
    assert told(search) == [("write", "b"), ("read", "b"), ("write", "a"), ("read", "a")]


def test_one_that_must_come_is_not_spared_by_an_equal_one_that_is_excused() -> None:
    """Rules 2 and 4: the first append was hidden by the write, so the second is the one that is seen."""
    search = finished(
        "key-value",
        call("append", "a", 0, 50),
        call("write", "b", 1, 2),
        call("read", "b", 3, 4),
        call("append", "a", 5, 60),
        call("read", "ba", 6, 7),
        call("read", "ba", 70, 71),
    )
    assert [op.invoked for op in search.order()] == [0, 1, 3, 5, 6, 70]


def test_an_ambiguous_write_may_come_to_hide_another() -> None:
    """Rules 3 and 4: it changes nothing that anybody sees, but excuses the write before it."""
    calls = (
        call("cas", (None, "a"), 0, 10, True),
        call("write", "b", 2, 15),
        call("delete", None, 1, None),
        call("read", "a", 16, 18),
    )
    search = finished("cas-register", *calls)
    assert told(search) == [("write", "b"), ("delete", None), ("cas", (None, "a")), ("read", "a")]


def test_what_cannot_come_true_any_more_is_not_followed() -> None:
    """Rule 6: the first append that does not fit the read ends it, whichever thirty are concurrent."""
    appends = [call("append", chr(97 + n), 0, 50) for n in range(25)]
    search = finished("key-value", *appends, call("read", "abcdefghijklmnopqrstuvwxy", 60, 61))
    assert search.found and search.configurations < 60
    search = finished("key-value", *appends, call("read", "zbc", 60, 61))
    assert search.found is False and search.configurations < 60
    assert search.hopeless == 25 > search.furthest


def test_it_may_be_asked_for_part_of_the_history() -> None:
    """The calls before `end` have to come; others may, if that helps."""
    calls = (call("read", "a", 0, 1), call("write", "a", 0, 5), call("read", "b", 6, 7))
    assert finished("register", *calls).found is False
    part = finished("register", *calls, end=1)
    assert part.found and told(part) == [("write", "a"), ("read", "a")]
    part = finished("register", *calls, end=2)
    assert part.found and part.furthest == 2 and list(part.rejected()) == [2]


def test_rejected_are_those_that_could_not_follow() -> None:
    """Members of the furthest front that are not in, and are not accepted: not the write that could come."""
    search = finished(
        "register",
        call("read", "a", 0, 9),
        call("write", "b", 0, 10),
        call("read", "c", 0, 11),
        call("read", None, 0, 12),
    )
    assert search.found is False and list(search.rejected()) == [0, 2]


def test_it_can_be_interrupted_after_any_step() -> None:
    """A step at a time it takes the same way, and neither budget is passed by much."""
    calls = [call("increment", 3**n, 0, None) for n in range(8)] + [call("read", 3**8, 1, 2)]
    whole = finished("counter", *calls)
    search = Search(timeline("counter", *calls), 1)
    while search.found is None:
        before = search.steps
        search.run(1, PLENTY)
        assert search.found is not None or 1 <= search.steps - before < 50
    assert (search.steps, search.configurations) == (whole.steps, whole.configurations)
    search = Search(timeline("counter", *calls), 1)
    search.run(PLENTY, 10)
    assert search.found is None and 10 <= search.configurations < 20


def orders(laid_out: Timeline, end: int) -> Iterator[tuple[int, ...]]:
    """Every order, in real time, of the calls before `end` with any of the others."""
    calls = laid_out.calls
    for others in range(1 << (len(calls) - end)):
        chosen = [*range(end), *(end + n for n in range(len(calls) - end) if others >> n & 1)]
        for order in permutations(chosen):
            if not any(
                calls[later].precedes(calls[sooner]) for n, sooner in enumerate(order) for later in order[n:]
            ):
                yield order


def accepted(laid_out: Timeline, model: str, order: tuple[int, ...]) -> bool:
    specification = SPECIFICATIONS[model]
    state = specification.start(specification.initial)
    for place in order:
        op = laid_out.calls[place]
        after = specification.step(state, op.f, op.value, op.result)
        if after is REJECTED:
            return False
        state = after
    return True


MAKERS: dict[str, Callable[[random.Random], tuple[str, Value]]] = {
    "register": lambda chance: (chance.choice(("read", "write")), chance.choice("ab")),
    "key-value": lambda chance: chance.choice(
        (("append", "a"), ("append", "b"), ("write", "a"), ("read", "a"), ("read", "ab"), ("read", "ba"))
    ),
    "counter": lambda chance: chance.choice((("increment", 1), ("increment", 2), ("read", 1), ("read", 3))),
}


@pytest.mark.parametrize("model", MAKERS)
def test_any_part_of_any_history_is_judged_rightly(model: str) -> None:
    """On 3,000 random histories, cut anywhere: there is an order if and only if one of all orders is accepted."""
    chance, found = random.Random(6), 0
    for _ in range(RANDOM_HISTORIES):
        calls = []
        for _ in range(chance.randint(1, 5)):
            invoked = chance.randrange(8)
            calls.append(call(*MAKERS[model](chance), invoked, invoked + chance.randrange(6)))
        end = chance.randint(1, len(calls))
        laid_out = timeline(model, *calls)
        expected = any(accepted(laid_out, model, order) for order in orders(laid_out, end))
        assert finished(model, *calls, end=end).found == expected
        found += expected
    assert 0.15 < found / RANDOM_HISTORIES < 0.85
