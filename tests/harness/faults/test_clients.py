"""Faults of clients on real servers: crashes, pauses, clocks that jump.

Scripts and dialogues are those of script.py: A and B are clients, Q is a worker.
"""

import datetime
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from cacheproof.models.decision import Crash, Decision, Invoke, Pause, Restart, Resume, Skew
from cacheproof.patterns.cache_aside import CacheAside

StageFor = Callable[[Any], Any]
COLD_READ = ["A read", "A GET -> nil", "A SELECT -> v1", "A SET -> OK", "A ok v1"]


@pytest.mark.parametrize("delivered", [0, 1, 2])
def test_a_crash_before_each_exchange(stage_for: StageFor, delivered: int) -> None:
    """What was delivered has happened, the rest never will; the operation is in doubt."""
    lines = stage_for(CacheAside).lines(f"A read, {'A .,' * delivered} A crash")
    assert lines == [*COLD_READ[: 1 + delivered], "A crash", "A info (the client crashed)"]


def test_a_crash_between_commit_and_invalidation(stage_for: StageFor) -> None:
    """The row is new, the cache is not: what a crash of a real process leaves behind."""
    lines = stage_for(CacheAside).lines("A read, A ..., B write, B ., B crash, A read, A .")
    assert lines[5:] == [
        "B write v2",
        "B UPDATE -> UPDATE 1",
        "B commits v2",
        "B crash",
        "B info v2 (the client crashed)",
        "A read",
        "A GET -> v1",
        "A ok v1",
    ]


def test_a_crash_of_an_idle_client(stage_for: StageFor) -> None:
    """It interrupts nothing; a fault that overlaps no operation says so."""
    run = stage_for(CacheAside).play("A read, A ..., A crash, B read, B .")
    (crash,) = [event for event in run.history.faults if event.fault == "crash"]
    assert crash.overlapped == ()


def test_a_crash_rolls_back_what_was_not_committed(stage_for: StageFor, caches: ModuleType) -> None:
    """After the decision the server has let go of the row: the next writer does not wait."""
    lines = stage_for(caches.Transactional).lines("A write, A ., A crash, B write, B ..")
    assert lines[-4:] == ["B UPDATE -> UPDATE 1", "B COMMIT -> COMMIT", "B commits v3", "B ok v3"]
    assert "A commits v2" not in lines


def test_a_crash_of_the_holder_frees_who_waits(stage_for: StageFor, caches: ModuleType) -> None:
    """The waiting UPDATE goes on as soon as the crashed client's transaction is gone."""
    lines = stage_for(caches.Transactional).lines("A write, A ., B write, B ., A crash, B .")
    assert lines[3:] == [
        "B UPDATE waits",
        "A crash",
        "A info v2 (the client crashed)",
        "B UPDATE -> UPDATE 1 at last",
        "B COMMIT -> COMMIT",
        "B commits v3",
        "B ok v3",
    ]


def test_a_crash_says_what_becomes_of_the_statement(stage_for: StageFor, caches: ModuleType) -> None:
    """Only where it goes on: a plain crash ends everything."""
    stage = stage_for(caches.Delegating)
    for how, detail in (("", None), (" runs", "runs")):
        run = stage.play(f"A read, A ., B write, B ., B crash{how}, A .")
        assert [event.detail for event in run.history.faults] == [detail]


# ── pauses ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_paused_client_does_nothing_and_notices_nothing(stage_for: StageFor) -> None:
    """What it had sent goes on without it; it goes on with what it was sent meanwhile."""
    lines = stage_for(CacheAside).lines("A read, A ., A pause, A ., B write, B .., A resume, A .")
    assert lines == [
        *COLD_READ[:2],
        "A pause",
        "A SELECT -> v1",
        "B write v2",
        "B UPDATE -> UPDATE 1",
        "B commits v2",
        "B DEL -> 0",
        "B ok v2",
        "A resume",
        "A SET -> OK",
        "A ok v1",
    ]


def test_timers_of_a_paused_client_run_out_late(stage_for: StageFor, caches: ModuleType) -> None:
    """It wakes when it goes on, not before, and all at once; another's wake at their time."""
    script = "A read, A pause, B read @user:2, advance 5, B ., A resume, A ."
    lines = stage_for(caches.Sleepy).lines(script, keys=("user:1", "user:2"))
    assert lines == [
        "A read",
        "A pause",
        "B read @user:2",
        "advance 5",
        "B GET -> nil",
        "B ok",
        "A resume",
        "A GET -> nil",
        "A ok",
    ]


def test_the_end_of_a_pause_is_in_the_epilogue_at_the_latest(stage_for: StageFor) -> None:
    """Nobody is left lying about."""
    lines = stage_for(CacheAside).lines("A read, A .., A pause", epilogue=True)
    assert lines[3:8] == ["A pause", "-- heal --", "A resume", "-- drain --", "A SET -> OK"]


def test_connections_break_behind_the_back_of_a_paused_client(stage_for: StageFor) -> None:
    """It finds out when it goes on."""
    lines = stage_for(CacheAside).lines("A read, A pause, kill, start, A resume")
    assert lines[1:5] == ["A pause", "kill cache", "start cache", "A resume"]
    assert lines[5].startswith("A fail (ConnectionError: ")


def test_a_paused_client_can_die(stage_for: StageFor) -> None:
    """SIGKILL needs no cooperation; the next one is awake."""
    lines = stage_for(CacheAside).lines("A read, A ., A pause, A crash, A restart, A read, A ...")
    assert lines[2:5] == ["A pause", "A crash", "A info (the client crashed)"]
    assert lines[5:] == ["A restart", *COLD_READ]


@pytest.mark.parametrize(
    ("script", "possible", "impossible"),
    [
        ("", [], [Pause(0), Resume(0), Crash(0)]),
        ("A read", [Pause(0)], [Resume(0), Pause(1)]),
        (
            "A read, A ..., A pause",
            [Resume(0), Crash(0)],
            [Pause(0), Invoke(0, "read", "user:1"), Restart(0)],
        ),
        ("A read, A pause, A crash", [Restart(0)], [Resume(0), Pause(0)]),
    ],
)
def test_when_a_client_can_pause(
    stage_for: StageFor, script: str, possible: list[Decision], impossible: list[Decision]
) -> None:
    """One that runs, once; and while it does, nothing is asked of it."""
    with stage_for(CacheAside).open(script) as execution:
        assert [item for item in possible if not execution.is_enabled(item)] == []
        assert [item for item in impossible if execution.is_enabled(item)] == []


# ── clocks ──────────────────────────────────────────────────────────────────────────────────────────────────


class Telling:
    """A read says what the clocks say: seconds since the start of the run."""

    def __init__(self, env: Any) -> None:
        self.clock = env.clock
        self.started = time.monotonic()

    def read(self, key: str) -> str:
        wall = (time.time() - 1_577_836_800, self.clock() - 1_577_836_800)
        day = datetime.datetime.now(datetime.UTC).isoformat()
        return f"{wall[0]:g} {wall[1]:g} {time.monotonic() - self.started:g} {day}"

    def write(self, key: str, value: str) -> None: ...


def test_the_wall_clock_of_one_client_jumps(stage_for: StageFor) -> None:
    """And of no other; what only measures is not moved, and a second jump adds to the first."""
    script = "A read, B read, A skew 60, A read, B read, A skew -3660, advance 10, A read, B read"
    lines = stage_for(Telling).lines(script)
    assert [line.removesuffix("+00:00") for line in lines if " ok " in line] == [
        "A ok 0 0 0 2020-01-01T00:00:00",
        "B ok 0 0 0 2020-01-01T00:00:00",
        "A ok 60 60 0 2020-01-01T00:01:00",
        "B ok 0 0 0 2020-01-01T00:00:00",
        "A ok -3590 -3590 10 2019-12-31T23:00:10",
        "B ok 10 10 10 2020-01-01T00:00:10",
    ]


def test_a_clock_that_jumps_wakes_nobody(stage_for: StageFor, caches: ModuleType) -> None:
    """Timers measure, they do not look at the wall."""
    with stage_for(caches.Sleepy).open("A read, A skew 3600") as execution:
        assert execution.next_wake_ns() == 2 * 10**9


def test_clocks_agree_again_in_the_next_run(stage_for: StageFor) -> None:
    """A client is as far ahead as this run has put it; one that is restarted has the clock of its machine."""
    stage = stage_for(Telling)
    assert "A ok 5 5" in stage.lines("A skew 5, A read")[2]
    assert "A ok 0 0" in stage.lines("A read")[1]
    assert "A ok 5 5" in stage.lines("A skew 5, A read, A crash, A restart, A read")[-1]


def test_whose_clock_can_jump(stage_for: StageFor) -> None:
    """That of any client there is, started or not; a jump of nothing is none."""
    with stage_for(Telling).open() as execution:
        assert execution.is_enabled(Skew(1, -1.0))
        assert not execution.is_enabled(Skew(1, 0.0)) and not execution.is_enabled(Skew(2, 1.0))
