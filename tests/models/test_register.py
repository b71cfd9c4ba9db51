"""A key seen as a register: positions of versions, sources of values, what is in the way of a verdict."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cacheproof.models.convergence import Convergence
from cacheproof.models.durability import Durability
from cacheproof.models.event import Event, Invoked, Returned
from cacheproof.models.history import History
from cacheproof.models.integrity import Integrity
from cacheproof.models.operation import Outcome
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.register import (
    Register,
    add_judgements,
    identity,
    judge_registers,
    obstacle,
    operations_on,
    pairs_of,
    registers,
)
from cacheproof.models.verdict import Finding, Judgement, Property
from cacheproof.models.version_staleness import StalenessInVersions
from cacheproof.models.zones import Linearizable

Draw = Callable[..., History]


def one(history: History) -> Register:
    (register,) = registers(history)
    return register


def test_reads_and_writes(draw: Draw) -> None:
    """Ok reads, all writes, and those of them that were acknowledged."""
    register = one(draw("A: |-w1-| |-r1-| |-r? |-w2-! |-d-? |-w1-|"))
    assert [op.value for op in register.reads] == ["v1"]
    assert [op.f for op in register.writes] == ["write", "write", "delete", "write"]
    assert [op.value for op in register.acknowledged] == ["v1", "v1"]
    assert len(register.sources("v1")) == 2 and len(register.wrote("v2")) == 1
    assert register.sources("v2") == () and len(register.sources(None)) == 1


def test_positions_count_versions(draw: Draw) -> None:
    """0 is the initial record; the last occurrence counts, before an event if one is given."""
    register = one(draw("A:            |-r1-|\ndb: 1  2  1        x"))
    first, second, third, fourth = register.commits
    assert (register.position("v0"), register.position("v1"), register.position(None)) == (0, 3, 4)
    assert register.position("v1", third.index) == 1 and register.position("v9") is None
    assert register.superseded("v1", third.index) is second
    assert register.superseded("v1", 99) is fourth
    assert register.superseded("v1", fourth.index) is None
    assert register.superseded(None, 99) is None and register.superseded("v9", 99) is None
    assert register.versions("v1", "v0", None, "v9", "v2") == (second, third, fourth)
    assert register.final is None and first.version == 1


def test_staleness_counts_from_the_superseding_commit(draw: Draw) -> None:
    """In virtual seconds until the read was invoked; None for a value that is current."""
    register = one(draw("A:          |-r1-|  |-r2-|\ndb:  1  2\ns:  0  4    9"))
    stale, fresh = register.reads
    assert register.stale_s(stale) == 5.0 and register.stale_s(fresh) is None


def test_values_of_different_types_differ() -> None:
    """Python holds 1, 1.0 and True for equal."""
    assert len({identity(value) for value in (1, 1.0, True, "1", None)}) == 5


def test_only_reads_and_writes_make_a_register(draw: Draw) -> None:
    """Another method is in the way, unless it certainly did nothing."""
    assert obstacle(one(draw("A: |-w1-| |-d-| |-r-|")).operations) is None
    assert obstacle(one(draw("A: |-<increment>1-!")).operations) is None
    assert "'increment' on 'k'" in (obstacle(one(draw("A: |-<increment>1-?")).operations) or "")


def test_keys_come_in_a_fixed_order(draw: Draw) -> None:
    """Those of the start, those committed, those called."""
    history = draw("A: |-w1@z-| |-w2@a-|\ndb@c:  1", {"k": "v0", "b": None})
    assert [register.key for register in registers(history)] == ["k", "b", "c", "z", "a"]
    assert [register.initial for register in registers(history)][:2] == ["v0", None]


def several(outcome: Outcome, *pairs: object) -> History:
    """A write of k, a write_many, and a read of k."""
    calls = [("write", "k", "v1"), ("write_many", None, pairs), ("read", "k", None)]
    events: list[Event] = []
    for f, key, value in calls:
        events.append(Invoked(len(events), 0.0, 0, f, key, value))  # type: ignore[arg-type]  # odd ones, too
        ended = outcome if f == "write_many" else Outcome.OK
        events.append(Returned(len(events), 0.0, 0, ended, value))  # type: ignore[arg-type]
    return History({"k": "v0"}, tuple(events), 1)


def test_a_write_of_several_keys_is_a_write_of_each() -> None:
    """In its place among the others, of None a delete; keys that only it names are registers as well."""
    history = several(Outcome.OK, ("k", "v2"), ("a", None))
    assert [(op.f, op.value, op.invoked) for op in operations_on(history, "k")] == [
        ("write", "v1", 0),
        ("write", "v2", 2),
        ("read", None, 4),
    ]
    (delete,) = operations_on(history, "a")
    assert (delete.f, delete.value, delete.key, delete.returned) == ("delete", None, "a", 3)
    assert [(item.key, len(item.operations)) for item in registers(history)] == [("k", 3), ("a", 1)]
    failed = several(Outcome.FAIL, ("k", "v2"))
    assert [op.outcome for op in operations_on(failed, "k")] == [Outcome.OK, Outcome.FAIL, Outcome.OK]
    assert operations_on(history, "z") == ()


def bundled(event: Event) -> Event:
    """A write as a write of several keys that are one."""
    if isinstance(event, Invoked) and event.f in ("write", "delete"):
        return replace(event, f="write_many", key=None, value=((str(event.key), event.value),))
    return event


@pytest.mark.parametrize(
    "judging",
    [
        Convergence(0),
        Durability(),
        Integrity(committed=True, resurrected=True),
        Linearizable(),
        ReadAfterWrite(),
        StalenessInVersions(0),
    ],
)
def test_properties_judge_it_as_the_writes_that_it_is(
    judging: Property, happenings: Callable[..., History]
) -> None:
    """On 1,000 random histories: the same findings about the same values, the same count, the same doubts."""
    found = 0
    for seed in range(1_000):
        history = happenings(seed)
        several = replace(history, events=tuple(map(bundled, history.events)))
        expected, judgement = judging.check(history), judging.check(several)
        assert (judgement.judged, judgement.unknown) == (expected.judged, expected.unknown)
        assert list(map(told, judgement.findings)) == list(map(told, expected.findings))
        found += len(judgement.findings)
    assert found > 50


def told(finding: Finding) -> tuple[object, ...]:
    culprit, because = finding.culprit, finding.because
    named = [op and (op.f, op.key, op.value, op.invoked, op.outcome) for op in (culprit, *because)]
    return finding.kind, finding.key, finding.versions, finding.stale_s, named


def test_a_write_of_who_knows_what_may_have_written_any_key() -> None:
    """Without readable pairs no key is a register any more, unless it certainly did not happen."""
    for outcome, doubtful in ((Outcome.OK, True), (Outcome.INFO, True), (Outcome.FAIL, False)):
        (register,) = registers(several(outcome, "k"))
        assert (obstacle(register.operations) is not None) == doubtful


@pytest.mark.parametrize("value", [None, "v1", (("a", 1, 2),), ("a", "b"), ((1, "v1"),)])
def test_what_is_no_sequence_of_pairs(value: Any) -> None:
    """Nothing is guessed."""
    assert pairs_of(value) is None


def test_the_last_of_several_values_for_a_key_counts() -> None:
    """As in a transaction that writes a record twice."""
    assert pairs_of((("a", "1"), ("a", "2"))) == {"a": "2"}
    assert pairs_of(()) == {}


def test_judgements_add_up(draw: Draw) -> None:
    """All findings, all that was judged, the first doubt; a key in doubt does not stop the others."""
    history = draw("A: |-r1@a-| |-<increment>1@b-| |-r1@c-|", {"a": "v1", "b": "v1", "c": "v1"})

    def judge(register: Register) -> Judgement:
        return Judgement((Finding("p", "kind", register.key),), judged=2)

    judgement = judge_registers(history, judge)
    assert [finding.key for finding in judgement.findings] == ["a", "c"]
    assert judgement.judged == 4 and "increment" in (judgement.unknown or "")
    doubts = [Judgement(), Judgement(unknown="first"), Judgement(unknown="second")]
    assert add_judgements(doubts).unknown == "first"


def test_the_keys_of_a_history_are_worked_out_once(draw: Draw) -> None:
    """Whatever asks gets the same registers, and with them what was worked out from these."""
    history = draw("A: |-w1-| |-r1-|")
    assert registers(history) is registers(history)
    assert registers(replace(history, initial={"k": "v7"}))[0].initial == "v7"


def test_positions_are_those_of_a_search_from_the_end(happenings: Callable[..., History]) -> None:
    """On 2,000 random histories: of every value, before every event."""
    for seed in range(2_000):
        register = one(happenings(seed))
        for value in ("v0", "v1", "v2", None):
            for before in (None, *range(17)):
                places = [
                    place
                    for place, commit in enumerate(register.commits, start=1)
                    if commit.value == value and (before is None or commit.index < before)
                ]
                initial = 0 if value == "v0" else None
                assert register.position(value, before) == (places[-1] if places else initial)
