"""Virtual time passes: what is due happens at its time, in order.

Scripts and dialogues are those of script.py: A and B are clients, Q is a worker.
"""

import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from cacheproof.models.decision import Advance, Deliver, Invoke
from cacheproof.models.event import Returned
from cacheproof.patterns.cache_aside import CacheAside

StageFor = Callable[[Any], Any]
COLD_READ = ["A read", "A GET -> nil", "A SELECT -> v1", "A SET -> OK", "A ok v1"]
TWO_KEYS = ("user:1", "user:2")


def test_a_ttl_runs_out_in_virtual_time(stage_for: StageFor) -> None:
    """300 seconds are over after 299 and 2, and not before; no real second passes."""
    script = "A read, A ..., advance 299, A read, A ., advance 2, A read, A ..."
    assert stage_for(CacheAside).lines(script) == [
        *COLD_READ,
        "advance 299",
        "A read",
        "A GET -> v1",
        "A ok v1",
        "advance 2",
        "expire user:1",
        *COLD_READ,
    ]


def test_a_key_expires_at_its_own_time(stage_for: StageFor) -> None:
    """While 400 seconds pass, the key goes at 300: the history says when."""
    run = stage_for(CacheAside).play("A read, A ..., advance 400")
    (expired,) = [event for event in run.history.faults if event.fault == "expire"]
    assert expired.at_s == pytest.approx(300)


def test_sleepers_wake_in_order(stage_for: StageFor, caches: ModuleType) -> None:
    """B sleeps one second, A two: after 1.5 seconds only B has asked."""
    with stage_for(caches.Sleepy).open("A read, B read @user:2", keys=TWO_KEYS) as execution:
        assert (execution.wake_ns_of(0), execution.next_wake_ns()) == (2 * 10**9, 10**9)
        execution.take(Advance(1.5))
        assert (len(execution.pending(0)), len(execution.pending(1))) == (0, 1)
        execution.take(Advance(0.5))
        assert (len(execution.pending(0)), len(execution.pending(1))) == (1, 1)


def test_a_blocking_command_ends_in_virtual_time(stage_for: StageFor, caches: ModuleType) -> None:
    """BRPOP with a time-out of 5 gives up after 5 virtual seconds, with nothing."""
    assert stage_for(caches.Queueing).lines("A read, A ., advance 4, advance 1") == [
        "A read",
        "A BRPOP waits",
        "advance 4",
        "advance 1",
        "A BRPOP -> nil at last",
        "A ok",
    ]


TIMED_OUT = "(TimeoutError: Timeout reading from socket)"
CONNECTED = "A write, A ., B write, B ."
FAULTS = {
    "silent": ("A write, partition cache A silent", "A SET waits"),
    "requests": ("A write, partition cache A requests", "A SET waits"),
    "replies": ("partition cache A replies, A write, A .", "A SET waits"),
    "replies, not sent for yet": ("A write, partition cache A replies", "A SET waits"),
    "frozen": ("A write, freeze cache, A .", "A SET waits"),
    "frozen, not sent for yet": ("A write, freeze cache", "A SET waits"),
}


def timed_out(history: Any) -> list[tuple[str, float]]:
    """Who gave up, and when, in virtual seconds."""
    ends = [event for event in history.events if isinstance(event, Returned)]
    return [(chr(ord("A") + end.process), end.at_s) for end in ends if "Timeout" in (end.error or "")]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_socket_times_out_while_a_fault_keeps_its_reply_back(
    stage_for: StageFor, caches: ModuleType, fault: str
) -> None:
    """A fifth of a second after it began to wait, however long the time that passes; not before."""
    script, waits = FAULTS[fault]
    stage = stage_for(caches.Impatient)
    with stage.open(f"{CONNECTED}, advance 1, {script}, advance 0.1") as execution:
        assert execution.operation(0) is not None and execution.wake_ns_of(0) == 1.2e9
        execution.take(Advance(5.0))
        history = execution.recorder.history()
    lines = stage.dialogue(history)
    assert lines[-4:] == [waits, "advance 0.1", "advance 5", f"A info v4 {TIMED_OUT}"]
    assert timed_out(history) == [("A", 1.2)]


def test_without_a_fault_nobody_times_out(stage_for: StageFor, caches: ModuleType) -> None:
    """Not for want of a decision, nor by waiting at the server; nor does a fault of another connection count."""
    script = f"{CONNECTED}, A write, B write, partition database A silent, partition cache B silent, advance 5, A ."
    assert stage_for(caches.Impatient).lines(script)[8:] == [
        "A partition database silent",
        "B partition cache silent",
        "A SET waits",
        "B SET waits",
        "advance 5",
        f"B info v5 {TIMED_OUT}",
        "A SET -> OK at last",
        "A ok v4",
    ]
    lines = stage_for(caches.Queueing).lines("A read, A ., advance 4.5, B write, B .")
    assert lines[-3:] == ["B ok v2", "A BRPOP -> [queue:user:1 v2] at last", "A ok v2"]


def test_a_command_that_waits_for_an_event_does_not_time_out(stage_for: StageFor, caches: ModuleType) -> None:
    """With a fault neither: it would wait without one as well.  Once its answer is kept back, it does."""
    stage = stage_for(caches.Queueing)
    script = "B write, B ., B read, B ., A read, A ., partition cache A replies, advance 4"
    with stage.open(script, keys=TWO_KEYS) as execution:
        assert execution.operation(0) is not None
        execution.take(Invoke(1, "write", "user:1"))
        execution.take(Deliver(1))
        assert execution.operation(0) is not None
        execution.take(Advance(1.0))
        assert stage.dialogue(execution.recorder.history())[-1] == f"A fail {TIMED_OUT}"


def test_time_outs_fire_in_order(stage_for: StageFor, caches: ModuleType) -> None:
    """Each at its own time: B began to wait 0.1 s after A."""
    stage = stage_for(caches.Impatient)
    script = f"{CONNECTED}, A write, freeze cache, A ., advance 0.1, B write, B ., advance 1"
    run = stage.play(script)
    assert timed_out(run.history) == [("A", 0.2), ("B", 0.3)]


def test_a_retry_waits_anew_and_falls_back_in_time(stage_for: StageFor, caches: ModuleType) -> None:
    """0.2 s, 0.1 s of rest, three times: then the row is asked for, and the rest of the time is the network's."""
    stage = stage_for(caches.Resigned)
    run = stage.play(f"{CONNECTED}, partition cache A silent, A read, advance 5, A .")
    assert stage.dialogue(run.history)[7:] == [
        "A read",
        "A GET waits",
        "advance 0.8",
        "A SELECT waits",
        "advance 4.2",
        "A SELECT -> v1 at last",
        "A ok v1",
    ]
    advances = [(event.at_s, event.detail) for event in run.history.faults if event.fault == "advance"]
    assert advances == [(0.0, pytest.approx(0.8)), (0.8, pytest.approx(4.2))]


def test_time_is_cut_wherever_somebody_goes_on(stage_for: StageFor, caches: ModuleType) -> None:
    """The pieces add up to what has passed."""
    stage = stage_for(caches.Resigned)
    run = stage.play(f"{CONNECTED}, freeze cache, A read, advance 0.1, B read, advance 5, A ., B .")
    advances = [event for event in run.history.faults if event.fault == "advance"]
    assert [event.detail for event in advances] == pytest.approx([0.1, 0.7, 0.1, 4.2])
    assert [event.at_s for event in advances] == pytest.approx([0, 0.1, 0.8, 0.9])


def test_who_tries_again_and_again_is_not_let_sleep(stage_for: StageFor, caches: ModuleType) -> None:
    """Each try is a new connection: 31 tries of 0.1 s, and 30 rests of 0.01 s in between."""

    class Stubborn(caches.Plain):  # type: ignore[misc, name-defined]  # a module that is found at run time
        def __init__(self, env: Any) -> None:
            super().__init__(env)
            retry = Retry(ConstantBackoff(0.01), 30)
            self.redis = redis.Redis.from_url(
                env.redis_url, decode_responses=True, socket_timeout=0.1, retry=retry
            )

    run = stage_for(Stubborn).play(f"{CONNECTED}, A write, freeze cache, A ., advance 50")
    assert timed_out(run.history) == [("A", pytest.approx(3.4))]


def test_every_run_asks_anew(stage_for: StageFor, caches: ModuleType) -> None:
    """Who waits at a socket is asked for the rest of a run with a fault, and of no other."""
    with stage_for(caches.Impatient).open("A read, freeze cache, advance 0.1") as execution:
        assert not execution.world.clock.ask()
    with stage_for(caches.Impatient).open("A read, advance 0.1") as execution:
        assert execution.world.clock.ask()


@pytest.mark.parametrize("how", ["silent", "frozen"])
def test_an_event_loop_behaves_alike(stage_for: StageFor, caches: ModuleType, how: str) -> None:
    """Its timers are virtual anyway; what it gave up arrives later just the same."""
    script, _ = FAULTS[how]
    mended = {"silent": "heal cache A, A arrive", "frozen": "thaw cache"}[how]
    seen = {}
    for cache in (caches.Impatient, caches.ImpatientAsync):
        stage = stage_for(cache)
        run = stage.play(f"{CONNECTED}, {script}, advance 1, {mended}, B read, B .")
        told = stage.dialogue(run.history, epilogue=True)
        seen[cache] = [re.sub(r" \(TimeoutError.*", " timed out", line) for line in told]
        assert timed_out(run.history) == [("A", 0.2)]
    assert seen[caches.Impatient] == seen[caches.ImpatientAsync]
    assert "A info v4 timed out" in seen[caches.Impatient]
    assert "B GET -> v4" in seen[caches.Impatient]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_with_time_outs_replays_byte_for_byte(
    stage_for: StageFor, caches: ModuleType, fault: str
) -> None:
    """In new processes and in those of an earlier run, which have slept before."""
    stage = stage_for(caches.Resigned)
    script = f"{CONNECTED}, {FAULTS[fault][0]}, advance 0.5, B read, advance 1, B ., A read, advance 3, A ."
    schedule = stage.schedule(script)
    fresh = [stage.runner.replay(schedule) for _ in range(2)]
    reused = [stage.runner.replay(schedule, anew=False) for _ in range(2)]
    assert fresh[0].problem is None
    assert [run.history == fresh[0].history for run in (*fresh, *reused)] == [True] * 4


def test_in_the_epilogue_healing_comes_first(stage_for: StageFor, caches: ModuleType) -> None:
    """Nobody times out there, though time could pass: nothing is kept back any more."""
    run = stage_for(caches.Impatient).play(f"{CONNECTED}, {FAULTS['silent'][0]}", probes_s=(0.0, 10.0))
    assert timed_out(run.history) == []


def test_a_paused_client_finds_its_time_over_when_it_goes_on(stage_for: StageFor, caches: ModuleType) -> None:
    """Its deadline had passed while it was stopped; had the reply come meanwhile, it would have read that first."""
    stage = stage_for(caches.Impatient)
    lines = stage.lines(f"{CONNECTED}, {FAULTS['frozen'][0]}, A pause, advance 1, A resume")
    assert lines[-2:] == ["A resume", f"A info v4 {TIMED_OUT}"]
    lines = stage.lines(f"{CONNECTED}, {FAULTS['frozen'][0]}, A pause, advance 1, thaw cache, A resume")
    assert lines[-3:] == ["A SET -> OK at last", "A resume", "A ok v4"]
