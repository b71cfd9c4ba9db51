"""A key seen as a register: positions of versions, sources of values, what is in the way of a verdict."""

from collections.abc import Callable

from cacheproof.models.history import History
from cacheproof.models.register import (
    Register,
    add_judgements,
    identity,
    judge_registers,
    obstacle,
    registers,
)
from cacheproof.models.verdict import Finding, Judgement

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
