"""The minimiser, tried on a small faithful world (toyworld.py): caches as generators, run by decisions."""

import importlib.util
import random
import re
import statistics
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproof.harness.minimise import Attempt, minimise
from cacheproof.models.decision import (
    Advance,
    Crash,
    Decision,
    Deliver,
    Expire,
    Fate,
    Heal,
    InFlight,
    Invoke,
    Kill,
    Manner,
    Partition,
    Restart,
    ServerName,
)


def _neighbour(name: str) -> ModuleType:
    """A module of this folder.  Test folders are no packages, so it is loaded from its path."""
    full_name = f"cacheproof_tests_harness_{name}"
    if full_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(full_name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[full_name] = module
        spec.loader.exec_module(module)
    return sys.modules[full_name]


_toy = _neighbour("toyworld")
ALL_FAULTS = _toy.ALL_FAULTS
CACHE_ASIDE = _toy.CACHE_ASIDE
CACHE_FAULTS = _toy.CACHE_FAULTS
SETTINGS = _toy.SETTINGS
SHRUGGING = _toy.SHRUGGING
STALE_SET = _toy.STALE_SET
Setting = _toy.Setting
WRITE_BEHIND = _toy.WRITE_BEHIND
generic = _toy.generic
spell = _toy.spell


def test_a_stale_set_comes_down_to_one_read_interrupted_by_one_write_within_60_replays() -> None:
    """200 walks of 10 to 60 decisions by 2 to 4 clients on 1 to 3 keys: always the same seven decisions."""
    replays = []
    for seed in range(200):
        decisions, attempt = Setting(CACHE_ASIDE, "stale").find(seed)
        result = minimise(decisions, attempt)
        assert (generic(result.decisions), result.minimal) == (STALE_SET, True), seed
        replays.append(result.replays)
    assert max(replays) <= 60
    assert statistics.median(replays) <= 25


def test_faults_around_a_stale_set_go() -> None:
    """Crashes, lost messages, kills, expiry and time in a schedule are removed where a race needs none."""
    for seed in range(40):
        decisions, attempt = Setting(CACHE_ASIDE, "stale", ALL_FAULTS, crashes=True).find(seed)
        result = minimise(decisions, attempt)
        assert len([item for item in result.decisions if isinstance(item, Invoke)]) == 2, seed
        assert generic(result.decisions) == STALE_SET, seed
        assert result.replays <= 90, seed


@pytest.mark.parametrize("name", SETTINGS)
def test_every_known_anomaly_has_one_minimal_form(name: str) -> None:
    """From any walk that shows the anomaly, the textbook's schedule of it, and within the budget."""
    setting, expected = SETTINGS[name]
    for seed in range(1000, 1015):
        decisions, attempt = setting.find(seed)
        result = minimise(decisions, attempt)
        assert (generic(result.decisions), result.minimal) == (expected, True), seed
        assert result.replays <= 150, seed


@pytest.mark.parametrize("name", SETTINGS)
def test_no_decision_of_a_minimal_schedule_can_go(name: str) -> None:
    """Without any one operation or fault the finding is lost, judged by the world and not by the minimiser."""
    decisions, attempt = SETTINGS[name][0].find(7)
    minimal = minimise(decisions, attempt).decisions
    assert attempt(minimal) == minimal
    for index, decision in enumerate(minimal):
        match decision:
            case Deliver(client, pick, fate):
                mended = Deliver(client, pick) if fate is not Fate.DELIVERED else None
                changed = (*minimal[:index], *((mended,) if mended else ()), *minimal[index + 1 :])
            case Invoke(client):
                changed = (*minimal[:index], *drop_operation(minimal[index + 1 :], client))
            case _:
                changed = minimal[:index] + minimal[index + 1 :]
        executed = attempt(changed)
        if isinstance(decision, Deliver) and decision.fate is Fate.DELIVERED:
            continue  # it is only postponed, to the epilogue: rule 3
        assert executed is None, spell(changed)


def drop_operation(rest: tuple[Decision, ...], client: int) -> tuple[Decision, ...]:
    """What follows an invocation, without what belongs to it."""
    kept: list[Decision] = []
    inside = True
    for decision in rest:
        inside = inside and not (isinstance(decision, Invoke) and decision.client == client)
        if not (inside and isinstance(decision, Deliver) and decision.client == client):
            kept.append(decision)
    return tuple(kept)


def test_no_schedule_is_run_twice_and_only_runs_are_counted() -> None:
    """`replays` and `progress` count calls of `attempt`, and no call repeats an earlier one."""
    for seed in range(20):
        decisions, attempt = Setting(CACHE_ASIDE, "stale").find(seed)
        calls: list[object] = []
        told: list[int] = []

        def spy(
            tried: tuple[Decision, ...], attempt: Attempt = attempt, calls: list[object] = calls
        ) -> tuple[Decision, ...] | None:
            calls.append(tried)
            return attempt(tried)

        result = minimise(decisions, spy, progress=told.append)
        assert len(set(calls)) == len(calls) == result.replays
        assert told == list(range(1, result.replays + 1))


def test_a_spent_budget_gives_the_best_so_far() -> None:
    """Never more replays than allowed; the result still shows the finding, and says it may not be minimal."""
    decisions, attempt = Setting(CACHE_ASIDE, "stale").find(3)
    full = minimise(decisions, attempt)
    sizes = []
    for budget in range(full.replays + 1):
        result = minimise(decisions, attempt, budget=budget)
        assert result.replays == budget
        assert result.minimal == (budget == full.replays)
        assert attempt(result.decisions) is not None
        sizes.append(len([item for item in result.decisions if isinstance(item, Invoke)]))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 2 == sizes[-1]


def test_a_finding_that_does_not_show_again_leaves_the_schedule_as_it_is() -> None:
    """Nothing is invented: the same decisions, not minimal, after the three ways to run them."""
    decisions, _ = Setting(CACHE_ASIDE, "stale").find(3)
    result = minimise(decisions, lambda _: None)
    assert (result.decisions, result.minimal) == (decisions, False)
    assert 1 <= result.replays <= 3


def test_a_flaky_finding_gives_a_schedule_that_did_show_it() -> None:
    """An attempt that fails one time in three makes the result larger, not wrong."""
    for seed in range(30):
        decisions, attempt = Setting(CACHE_ASIDE, "stale").find(seed)
        chance = random.Random(seed)

        def flaky(
            tried: tuple[Decision, ...], attempt: Attempt = attempt, chance: random.Random = chance
        ) -> tuple[Decision, ...] | None:
            return attempt(tried) if chance.random() < 0.67 else None

        result = minimise(decisions, flaky)
        assert attempt(result.decisions) is not None
        assert result.replays <= 400


def test_what_the_epilogue_ended_is_ended_by_decisions() -> None:
    """The reader's SET was left to the drain; the minimal schedule spells it out."""
    decisions: tuple[Decision, ...] = (
        Invoke(0, "read", "k0"),
        *(Deliver(0), Deliver(0), Invoke(1, "write", "k0"), Deliver(1), Deliver(1)),
    )
    result = minimise(decisions, Setting(CACHE_ASIDE, "stale").attempt(2, ("k0",)))
    assert spell(result.decisions) == "A.read(k0) A A B.write(k0) B B A"


def test_a_cache_that_is_healed_in_the_epilogue_is_ended_by_decisions_once_that_is_possible() -> None:
    """With the cache down at the end nothing can be run to its end; after the fault has gone it can."""
    decisions: tuple[Decision, ...] = (
        Invoke(0, "read", "k0"),
        *(Deliver(0), Deliver(0), Invoke(1, "write", "k0"), Deliver(1), Deliver(1)),
        Kill(ServerName.CACHE),
    )
    result = minimise(decisions, Setting(CACHE_ASIDE, "stale").attempt(2, ("k0",)))
    assert spell(result.decisions) == "A.read(k0) A A B.write(k0) B B A"


def whole_write(client: int) -> tuple[Decision, ...]:
    return Invoke(client, "write", "k0"), Deliver(client), Deliver(client)


def test_a_worker_takes_only_the_steps_that_are_left_for_it() -> None:
    """Six writes and eleven steps of the worker, which dies holding the last; one write and one step will do."""
    decisions: tuple[Decision, ...] = (
        *[d for client in (0, 1, 0, 1, 0, 0) for d in whole_write(client)],
        *[Deliver(2)] * 11,
        Crash(2),
    )
    result = minimise(decisions, Setting(WRITE_BEHIND, "lost").attempt(2, ("k0",)))
    assert generic(result.decisions) == "A.write(k) A A W crash(W)"


def test_a_worker_that_is_invoked_anew_stays_a_worker() -> None:
    """Its loop is given no spare deliveries, and its number is not taken for a client's."""
    decisions: list[Decision] = [
        Invoke(2, "work"),
        Deliver(2),
        Deliver(2),
        Invoke(1, "write", "k"),
        Deliver(1),
    ]
    found = reduced(decisions, lambda text: text.startswith("C.work(None) C C ") and "write" in text, 40)
    assert re.fullmatch(r"C\.work\(None\) C C A\.write\(k\)( A)+", found)


def test_operations_of_one_client_are_tried_on_two() -> None:
    """A lost DEL and an unrelated race become a lost DEL on a warm entry, though one client ran both."""
    decisions: tuple[Decision, ...] = (
        *(Invoke(0, "write", "k0"), Deliver(0), Deliver(0, fate=Fate.REQUEST_LOST)),
        *(Invoke(0, "read", "k0"), Deliver(0), Deliver(0)),
        *(Invoke(1, "write", "k0"), Deliver(1), Deliver(1), Deliver(0)),
    )
    result = minimise(decisions, Setting(SHRUGGING, "swallowed").attempt(2, ("k0",)))
    assert spell(result.decisions) == "A.read(k0) A A A A.write(k0) A A!request-lost"


# Single rules, on operations that take a fixed number of exchanges


def counted(exchanges: int, shows: Callable[[tuple[Decision, ...]], bool]) -> Attempt:
    """An attempt in which each operation takes so many exchanges, and `shows` judges what was executed."""

    def run(decisions: tuple[Decision, ...]) -> tuple[Decision, ...] | None:
        left: dict[int, int] = {}
        executed = []
        for decision in decisions:
            match decision:
                case Invoke(client):
                    enabled = left.get(client, 0) == 0
                    left[client] = exchanges if enabled else left[client]
                case Deliver(client):
                    enabled = left.get(client, 0) > 0
                    left[client] = max(0, left.get(client, 0) - 1)
                case Crash(client):
                    enabled, left[client] = True, 0
                case _:
                    enabled = True
            executed += [decision] if enabled else []
        return tuple(executed) if shows(tuple(executed)) else None

    return run


def reduced(decisions: list[Decision], shows: Callable[[str], bool], exchanges: int = 2) -> str:
    """The minimal form in words, of what `shows` wants to see in the words of a run."""
    return spell(minimise(tuple(decisions), counted(exchanges, lambda d: shows(spell(d)))).decisions)


def test_a_finding_of_the_epilogue_alone_needs_no_decision() -> None:
    """A cache that is wrong when nothing was done has an empty schedule."""
    assert reduced([Invoke(0, "read", "k"), Deliver(0)], lambda _: True) == ""


def test_what_needs_an_open_operation_keeps_it_open() -> None:
    """If the finding is lost when the operation is run to its end, it is not run to its end."""
    decisions: list[Decision] = [Invoke(0, "read", "k"), Deliver(0)]
    assert reduced(decisions, lambda text: text == "A.read(k) A") == "A.read(k) A"


def test_a_pair_that_needs_each_other_is_removed_together() -> None:
    """Neither the filling read nor the emptying write can go alone; the race on the cold cache needs neither."""
    decisions: tuple[Decision, ...] = (
        *(Invoke(0, "read", "k0"), Deliver(0), Deliver(0), Deliver(0)),
        *(Invoke(0, "write", "k0"), Deliver(0), Deliver(0)),
        *(Invoke(0, "read", "k0"), Deliver(0), Deliver(0)),
        *(Invoke(1, "write", "k0"), Deliver(1), Deliver(1), Deliver(0)),
    )
    result = minimise(decisions, Setting(CACHE_ASIDE, "stale").attempt(2, ("k0",)))
    assert spell(result.decisions) == "A.read(k0) A A B.write(k0) B B A"


def test_an_operation_is_moved_aside_with_the_fewest_preemptions() -> None:
    """Three switches inside operations where one will do."""
    decisions: list[Decision] = [
        Invoke(0, "write", "k"),
        *(Invoke(1, "write", "k"), Deliver(0), Deliver(1), Deliver(0), Deliver(1)),
    ]

    def overlap(text: str) -> bool:
        return text.count("write") == 2 and not re.match(r"([AB])\.write\(k\) \1 \1", text)

    assert reduced(decisions, overlap) == "A.write(k) A B.write(k) B B A"


def test_many_operations_are_disentangled_one_at_a_time() -> None:
    """Five operations in lockstep, too many orders to try them all: what nothing holds open is joined."""
    clients = range(5)
    lockstep = [Deliver(client) for _ in range(4) for client in clients]
    decisions: list[Decision] = [*(Invoke(client, "write", "k") for client in clients), *lockstep]

    def five(text: str) -> bool:
        return text.count("write") == 5 and re.match(r"([A-E])\.write\(k\) \1 \1 \1 \1", text) is None

    assert reduced(decisions, five, 4) == "A.write(k) A A A " + 4 * "B.write(k) B B B B " + "A"


def test_clients_that_take_turns_become_one() -> None:
    """Two operations one after the other need one client, numbered from 0."""
    decisions: list[Decision] = [Invoke(3, "write", "k"), Deliver(3), Deliver(3), Invoke(2, "write", "k")]
    assert reduced(decisions, lambda text: text.count("write") == 2) == "A.write(k) A A A.write(k) A A"


def test_keys_become_one_where_that_is_enough() -> None:
    """Two writes on two keys shrink to two writes on the first key."""
    decisions: list[Decision] = [Invoke(0, "write", "k1"), *[Deliver(0)] * 2, Invoke(0, "write", "k0")]
    assert reduced(decisions, lambda text: text.count("write") == 2) == "A.write(k0) A A A.write(k0) A A"


def test_a_plainer_operation_takes_the_place_of_another() -> None:
    """A delete is replaced by a read if any operation will do, and by a write if a read will not."""
    decisions: list[Decision] = [Invoke(0, "delete", "k"), Deliver(0), Deliver(0)]
    assert reduced(decisions, lambda text: "(k)" in text) == "A.read(k) A A"
    assert reduced(decisions, lambda text: "(k)" in text and "read" not in text) == "A.write(k) A A"


def test_what_clients_do_not_do_takes_no_place() -> None:
    """A counter that cannot be written is at most read, and one that cannot even be read stays."""
    decisions = (Invoke(0, "increment", "k"), Deliver(0), Deliver(0))
    anything = counted(2, lambda d: "(k)" in spell(d))
    writing = counted(2, lambda d: "(k)" in spell(d) and "read" not in spell(d))
    for attempt, operations, smallest in (
        (anything, ("read", "increment"), "A.read(k) A A"),
        (writing, ("read", "increment"), "A.increment(k) A A"),
        (anything, ("increment",), "A.increment(k) A A"),
    ):
        assert spell(minimise(decisions, attempt, operations=operations).decisions) == smallest


def test_time_becomes_round_and_whole() -> None:
    """Two stretches of 200.5 s, of which 300 s are needed, become one of 300 s."""
    decisions: list[Decision] = [
        Advance(200.5),
        Invoke(0, "read", "k"),
        Deliver(0),
        Advance(200.5),
        Deliver(0),
    ]

    def late(executed: tuple[Decision, ...]) -> bool:
        seconds = sum(item.seconds for item in executed if isinstance(item, Advance))
        return seconds >= 300 and any(isinstance(item, Invoke) for item in executed)

    result = minimise(tuple(decisions), counted(2, late)).decisions
    assert spell(result) in ("advance(300) A.read(k) A A", "A.read(k) A A advance(300)")


def test_time_that_must_pass_at_one_moment_passes_there() -> None:
    """Of two stretches the one is joined to the other where the finding needs it."""
    decisions: list[Decision] = [
        Advance(150.0),
        Invoke(0, "read", "k"),
        Deliver(0),
        Deliver(0),
        Advance(150.0),
    ]
    before = "advance(300) A.read(k) A A"
    assert reduced(decisions, lambda text: "advance(300) A.read" in text or text.count("150") == 2) == before
    after = "A.read(k) A A advance(300)"
    assert reduced(decisions, lambda text: "A advance(300)" in text or text.count("150") == 2) == after


def test_a_fault_of_the_world_moves_out_of_an_operation() -> None:
    """An expiry in the middle of a read is moved to before it, unless it has to strike there."""
    decisions: list[Decision] = [Invoke(0, "read", "k"), Deliver(0), Expire("k"), Deliver(0)]
    assert reduced(decisions, lambda text: "read" in text and "expire" in text) == "expire(k) A.read(k) A A"
    assert reduced(decisions, lambda text: "A expire(k) A" in text) == "A.read(k) A expire(k) A"


def test_a_fault_of_the_world_moves_out_of_a_race() -> None:
    """Where the interleaving must stay, a fault in the middle of it moves alone."""
    race = "A.read(k) A B.write(k) B B A"
    decisions: list[Decision] = [
        *(Invoke(0, "read", "k"), Deliver(0), Invoke(1, "write", "k"), Deliver(1)),
        *(Expire("k"), Deliver(1), Deliver(0)),
    ]
    found = reduced(
        decisions, lambda text: "expire" in text and race in re.sub(r" ?expire\(k\) ?", " ", text)
    )
    assert found == f"expire(k) {race}"


def test_odd_decisions_become_plain() -> None:
    """The first exchange, a request lost, a statement cancelled: unless the finding needs the other."""
    odd: list[Decision] = [
        Invoke(0, "write", "k"),
        Deliver(0, pick=2),
        Deliver(0, fate=Fate.REPLY_LOST),
        Crash(0, InFlight.RUNS),
    ]
    plain = "A.write(k) A!request-lost crash(A)"
    assert reduced(odd, lambda text: "lost" in text and "crash" in text and "write" in text, 3) == plain
    kept = "A.write(k) A[2] A!reply-lost crash(A)!runs"
    assert reduced(odd, lambda text: text == kept, 3) == kept


def test_a_partition_of_a_client_is_renumbered_with_it() -> None:
    """Clients are numbered by appearance, and the network that fails is still theirs; plainer, if that will do."""
    cache = ServerName.CACHE
    decisions = [
        *(Invoke(3, "read", "k"), Deliver(3), Partition(cache, 3, Manner.SILENT), Deliver(3), Heal(cache, 3)),
        *(Invoke(1, "write", "k"), Deliver(1), Deliver(1)),
    ]
    seen: list[tuple[Decision, ...]] = []

    def shows(candidate: tuple[Decision, ...]) -> bool:
        cut = [item for item in candidate if isinstance(item, Partition)]
        clients = {item.client for item in candidate if isinstance(item, Invoke) and item.f == "read"}
        return any(item.client in clients for item in cut) and any(
            isinstance(item, Invoke) and item.f == "write" for item in candidate
        )

    def attempt(candidate: tuple[Decision, ...]) -> tuple[Decision, ...] | None:
        seen.append(candidate)
        return candidate if shows(candidate) else None

    found = minimise(tuple(decisions), attempt).decisions
    (partition,) = [item for item in found if isinstance(item, Partition)]
    assert (partition.client, partition.manner) == (0, Manner.REFUSE)
    assert not any(isinstance(item, Heal) for item in found) and len(seen) > 1


def test_two_crashes_of_one_client_are_two_operations_cut_off() -> None:
    """Both crashes stay, each in its operation; the restarts and the bystander go."""
    decisions: list[Decision] = [Invoke(0, "write", "k"), Deliver(0), Crash(0), Restart(0)]
    decisions += [
        Invoke(0, "write", "k"),
        Deliver(0),
        Crash(0),
        Restart(0),
        Invoke(1, "read", "k"),
        Deliver(1),
    ]
    found = reduced(decisions, lambda text: re.search(r"A crash\(A\).*write.*A crash\(A\)", text) is not None)
    assert found == "A.read(k) A crash(A) A.write(k) A crash(A)"


@settings(max_examples=150, deadline=None)
@given(
    decisions=st.lists(
        st.one_of(
            st.builds(Invoke, st.integers(0, 3), st.sampled_from(["read", "write", "work"]), st.just("k")),
            st.builds(Deliver, st.integers(0, 3), st.integers(0, 1), st.sampled_from(Fate)),
            st.builds(Crash, st.integers(0, 3), st.sampled_from(InFlight)),
            st.builds(Restart, st.integers(0, 3)),
            st.sampled_from([*CACHE_FAULTS, Expire("k"), Advance(7.0)]),
        ),
        max_size=25,
    ),
    salt=st.integers(0, 1000),
    exchanges=st.integers(0, 3),
)
def test_any_schedule_under_any_judge_ends_with_something_that_was_shown(
    decisions: list[Decision], salt: int, exchanges: int
) -> None:
    """A judge without rhyme or reason breaks nothing: no error, no more replays than allowed, no invention."""
    shown: set[tuple[Decision, ...]] = {tuple(decisions)}

    def arbitrary(executed: tuple[Decision, ...]) -> bool:
        verdict = zlib.crc32(spell(executed).encode()) % 1000 > salt
        shown.update([executed] if verdict else [])
        return verdict

    result = minimise(tuple(decisions), counted(exchanges, arbitrary), budget=80)
    assert result.decisions in shown
    assert result.replays <= 80
