"""What was counted is in the database once."""

import random
from collections import Counter
from collections.abc import Iterable
from itertools import combinations

import pytest

from cacheproof.models import counters
from cacheproof.models.counters import ExactlyOnce, can_add_up
from cacheproof.models.event import Committed, Entered, Event, Invoked, Phase, Returned
from cacheproof.models.history import History
from cacheproof.models.operation import Outcome, Value
from cacheproof.models.verdict import Judgement, Verdict

Call = tuple[Value, Outcome] | tuple[Value, Outcome, str]


def history(initial: Value, calls: Iterable[Call], *versions: Value, quiet: bool = True) -> History:
    """Each call one after the other (argument, outcome, and the method unless it is increment), then versions."""
    events: list[Event] = []
    for argument, outcome, *name in calls:
        events.append(Invoked(len(events), 0.0, 0, name[0] if name else "increment", "k", argument))
        events.append(Returned(len(events), 0.0, 0, outcome, 77 if argument is None else argument))
    for number, value in enumerate(versions, start=1):
        events.append(Committed(len(events), 0.0, "k", value, number))
    if quiet:
        events.append(Entered(len(events), 0.0, Phase.QUIESCE))
    return History({"k": initial}, tuple(events), 1)


def judge(initial: Value, calls: Iterable[Call], *versions: Value, quiet: bool = True) -> Judgement:
    return ExactlyOnce().check(history(initial, calls, *versions, quiet=quiet))


def subset_sums(amounts: list[int]) -> set[int]:
    return {sum(some) for count in range(len(amounts) + 1) for some in combinations(amounts, count)}


OK, FAIL, INFO = Outcome.OK, Outcome.FAIL, Outcome.INFO


def test_it_agrees_with_trying_every_subset() -> None:
    """10,000 histories: right is a sum of all that was acknowledged and some of what is in doubt."""
    chance = random.Random(20)
    seen: Counter[Verdict] = Counter()
    for _ in range(10_000):
        signs = chance.choice(((1,), (1,), (-1,), (1, -1)))
        calls = [
            (chance.choice((1, 2, 5, 10)) * chance.choice(signs), chance.choice((OK, OK, INFO, FAIL)))
            for _ in range(chance.randint(1, 6))
        ]
        start, quiet = chance.randint(-3, 3), chance.random() < 0.8
        final = (
            start + sum(amount for amount, _ in calls if chance.random() < 0.7) + chance.choice((0, 0, 1, 10))
        )
        judgement = judge(start, calls, str(final), quiet=quiet)
        sure = [amount for amount, outcome in calls if outcome is OK]
        open_ = [amount for amount, outcome in calls if outcome is INFO]
        rest = subset_sums(open_ if quiet else [*open_, *sure])
        legal = {sum(sure) + item for item in rest} if quiet else rest
        added = final - start
        if quiet:
            assert (judgement.findings == ()) == (added in legal) and judgement.unknown is None
        for finding in judgement.findings:
            assert finding.found == added and finding.allowed == (min(legal), max(legal))
            assert (finding.kind == "impossible-sum") == (min(legal) <= added <= max(legal))
            assert len(finding.because) == len(sure) + len(open_)
        if not quiet:
            assert judgement.verdict is (Verdict.REFUTED if judgement.findings else Verdict.UNKNOWN)
            assert not judgement.findings or added not in legal
            assert {finding.kind for finding in judgement.findings} <= {"double-applied"}
        assert judgement.judged == len(calls)
        seen[judgement.verdict] += 1
    assert min(seen[verdict] for verdict in (Verdict.UPHELD, Verdict.REFUTED, Verdict.UNKNOWN)) > 1_000


WRONG: dict[str, tuple[Value, list[Call], list[Value], str, int, tuple[int, int]]] = {
    "applied twice": ("10", [(10, OK), (10, OK)], ["20", "30", "40"], "double-applied", 30, (20, 20)),
    "lost": (0, [(1, OK), (1, OK)], [1], "lost-increment", 1, (2, 2)),
    "all of them lost": ("0", [(None, OK), (None, OK)], [], "lost-increment", 0, (2, 2)),
    "a failed one applied": (0, [(1, OK), (1, FAIL)], [1, 2], "double-applied", 2, (1, 1)),
    "nothing but a failed one": (5, [(1, FAIL)], [6], "double-applied", 1, (0, 0)),
    "an ambiguous one applied twice": (0, [(1, OK), (5, INFO)], [11], "double-applied", 11, (1, 6)),
    "in between": (0, [(1, OK), (5, INFO)], [4], "impossible-sum", 4, (1, 6)),
    "between several": (0, [(4, INFO), (6, INFO), (6, INFO)], [8], "impossible-sum", 8, (0, 16)),
    "a decrement applied twice": (0, [(-1, OK)], [-1, -2], "double-applied", -2, (-1, -1)),
    "a decrement lost": (0, [(-1, OK)], [], "lost-increment", 0, (-1, -1)),
    "below where it began": (0, [(1, OK)], [-1], "lost-increment", -1, (1, 1)),
    "the record is gone": ("3", [(1, OK)], [None], "lost-increment", -3, (1, 1)),
}


@pytest.mark.parametrize("title", WRONG)
def test_a_wrong_sum_is_found(title: str) -> None:
    """The difference seen, the range that was allowed, the increments that count, the versions."""
    initial, calls, versions, kind, found, allowed = WRONG[title]
    told = history(initial, calls, *versions)
    (finding,) = ExactlyOnce().check(told).findings
    assert (finding.property, finding.kind, finding.key) == ("exactly-once", kind, "k")
    assert (finding.found, finding.allowed, finding.culprit) == (found, allowed, None)
    assert finding.because == tuple(op for op in told.operations if op.outcome is not FAIL)
    assert finding.versions == told.commits["k"]


def test_the_version_that_went_too_far_is_shown() -> None:
    """It is the first that all that had been asked for by then cannot make."""
    wrong = history("10", [(10, OK), (10, OK)], "20", "30", "40", "50")
    assert ExactlyOnce().check(wrong).findings[0].at == (6,)
    assert judge("0", [(1, OK)], "x", "3").findings[0].at == (3,)
    early = (
        Invoked(0, 0.0, 0, "increment", "k", None),
        Committed(1, 0.0, "k", "2", 1),
        Invoked(2, 0.0, 1, "increment", "k", None),
        Committed(3, 0.0, "k", "3", 2),
        Entered(4, 0.0, Phase.QUIESCE),
    )
    assert ExactlyOnce().check(History({"k": "0"}, early, 2)).findings[0].at == (1,)
    assert judge("0", [(1, OK), (1, OK)], "1").findings[0].at == ()


RIGHT: dict[str, tuple[Value, list[Call], list[Value]]] = {
    "each once": ("10", [(10, OK), (None, OK)], ["20", "21"]),
    "several at once": (0, [(1, OK), (1, OK), (1, OK)], [3]),
    "an ambiguous one happened": (0, [(1, OK), (5, INFO)], [6]),
    "an ambiguous one did not": (0, [(1, OK), (5, INFO)], [1]),
    "the right one of several ambiguous ones": (0, [(4, INFO), (6, INFO), (6, INFO)], [10]),
    "a failed one did not": (0, [(1, OK), (1, FAIL)], [1]),
    "there was no record": (None, [(1, OK)], ["1"]),
    "numbers that are written otherwise": ("+1", [("2", OK), (-1.0, OK)], ["02"]),
    "it was read as well": (0, [(1, OK), (None, OK, "read"), (9, FAIL, "write")], [1]),
    "ups and downs": (0, [(3, OK), (-2, INFO), (-2, INFO)], [-1]),
}


@pytest.mark.parametrize("title", RIGHT)
def test_near_misses_are_not_flagged(title: str) -> None:
    """Once, or, in doubt, once or not at all."""
    initial, calls, versions = RIGHT[title]
    assert judge(initial, calls, *versions).verdict is Verdict.UPHELD


DOUBTS: dict[str, tuple[Value, list[Call], list[Value], str]] = {
    "a text": ("v1", [(1, OK)], [], "'v1'"),
    "a text in the end": (1, [(1, OK)], ["2 apples"], "'2 apples'"),
    "a fraction": (0.5, [(1, OK)], [], "0.5"),
    "a truth": (True, [(1, OK)], [], "True"),
    "several values": ((1, 2), [(1, OK)], [], "(1, 2)"),
    "an amount that is none": (1, [("much", OK)], [], "'much'"),
    "it was written as well": (1, [(1, OK), (5, OK, "write")], [5], "'write'"),
}


@pytest.mark.parametrize("title", DOUBTS)
def test_what_is_no_counter_is_not_judged(title: str) -> None:
    """Whole numbers and their texts can be counted with; nothing else is guessed."""
    initial, calls, versions, shown = DOUBTS[title]
    judgement = judge(initial, calls, *versions)
    assert judgement.verdict is Verdict.UNKNOWN and shown in (judgement.unknown or "")


def test_before_everything_is_quiet_only_too_much_is_wrong() -> None:
    """What is missing may be on its way, and so may be what is applied twice."""
    assert judge(0, [(1, OK)], 2, quiet=False).verdict is Verdict.REFUTED
    assert judge(0, [(-1, OK)], -2, quiet=False).verdict is Verdict.REFUTED
    for final in (0, 1, -1):
        judgement = judge(0, [(1, OK)], final, quiet=False)
        assert judgement.verdict is Verdict.UNKNOWN and "rest" in (judgement.unknown or "")


def test_keys_without_increments_are_not_judged() -> None:
    """A key that is only read or written is no counter; an increment that never returned is in doubt."""
    assert judge("v1", [(None, OK, "read"), ("v2", OK, "write")], "v2").verdict is Verdict.NOT_EXERCISED
    pending = (Invoked(0, 0.0, 0, "increment", "k", None), Entered(1, 0.0, Phase.QUIESCE))
    assert ExactlyOnce().check(History({"k": "0"}, pending, 1)).verdict is Verdict.UPHELD
    assert ExactlyOnce().check(History({}, pending, 1)).verdict is Verdict.UPHELD
    assert ExactlyOnce().probes_s == (0.0,)


def test_sums_agree_with_trying_every_subset(monkeypatch: pytest.MonkeyPatch) -> None:
    """3,000 lists of amounts, as bits and one by one."""
    chance = random.Random(7)
    for case in range(3_000):
        monkeypatch.setattr(counters, "MOST_BITS", 0 if case % 2 else 1 << 24)
        amounts = [chance.choice((-6, -4, 0, 2, 3, 3, 10, 14)) for _ in range(chance.randint(0, 7))]
        sums = subset_sums(amounts)
        for target in range(min(sums) - 2, max(sums) + 3):
            assert can_add_up(amounts, target) is (target in sums), (amounts, target)


def test_sums_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """200 ambiguous increments are no problem; very many very different ones are a doubt, not a guess."""
    assert can_add_up([1] * 200, 100) is True and can_add_up([2] * 200, 101) is False
    assert can_add_up([10**12] * 200, 5 * 10**12) is True
    assert can_add_up([10**12 + number for number in range(9)], 2 * 10**12 + 3) is True
    large = [3**number for number in range(40)]
    assert can_add_up(large, sum(large) // 2 + 1) is None
    judgement = judge(0, [(amount, INFO) for amount in large], sum(large) // 2 + 1)
    assert judgement.verdict is Verdict.UNKNOWN and "too many ambiguous" in (judgement.unknown or "")
