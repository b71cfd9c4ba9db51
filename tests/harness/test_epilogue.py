"""The epilogue: whatever the schedule left behind comes to an end, in a fixed order, or is told in words."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from cacheproof.models.event import Entered
from cacheproof.patterns.cache_aside import CacheAside

StageFor = Callable[[Any], Any]
HEAL, DRAIN, QUIESCE, READS = (f"-- {name} --" for name in ("heal", "drain", "quiesce", "final-reads"))


def epilogue(stage: Any, script: str, **scenario: Any) -> list[str]:
    """The dialogue from where the script has ended."""
    lines: list[str] = stage.lines(script, epilogue=True, **scenario)
    return lines[lines.index(HEAL) :]


def test_what_is_open_is_drained_lowest_client_first(stage_for: StageFor) -> None:
    """Each operation is brought to its end before the next one goes on."""
    assert epilogue(stage_for(CacheAside), "B read, A write, A .", probes_s=()) == [
        HEAL,
        DRAIN,
        "A DEL -> 0",
        "A ok v2",
        "B GET -> nil",
        "B SELECT -> v2",
        "B SET -> OK",
        "B ok v2",
        QUIESCE,
        READS,
    ]


def test_a_dead_cache_is_healed(stage_for: StageFor) -> None:
    """It is started before anything is drained."""
    assert epilogue(stage_for(CacheAside), "kill", probes_s=()) == [
        HEAL,
        "start cache",
        DRAIN,
        QUIESCE,
        READS,
    ]


def test_probes_read_every_key_at_their_seconds(stage_for: StageFor) -> None:
    """In virtual seconds after quiescence, not after the start of the run."""
    stage = stage_for(CacheAside)
    run = stage.play("advance 5", keys=("user:1", "user:2"), probes_s=(0.0, 10.0, 400.0))
    reads = [(operation.invoked_s, operation.key) for operation in run.history.operations if operation.final]
    assert reads == [(at, key) for at in (5.0, 15.0, 405.0) for key in ("user:1", "user:2")]
    assert "expire user:1" in stage.dialogue(run.history, epilogue=True)


def test_only_the_final_reads_are_final(stage_for: StageFor) -> None:
    """What the schedule invoked is not, even if it ends in the epilogue."""
    run = stage_for(CacheAside).play("A read")
    assert [operation.final for operation in run.history.operations] == [False, True]


def test_the_phases_come_in_order(stage_for: StageFor) -> None:
    """Each once, whatever there is to do."""
    run = stage_for(CacheAside).play("")
    phases = [event.phase.value for event in run.history.events if isinstance(event, Entered)]
    assert phases == ["heal", "drain", "quiesce", "final-reads"]


def test_a_client_that_lost_a_connection_does_not_read(stage_for: StageFor) -> None:
    """Many a cache never opens it again: B reads, since A has been wounded."""
    assert "B read" in epilogue(stage_for(CacheAside), "A read, A lost, B read, B ...")


def test_a_client_that_crashed_does_not_read(stage_for: StageFor) -> None:
    """A client that is down stays down as long as another one can read."""
    lines = epilogue(stage_for(CacheAside), "A read, A crash")
    assert "B read" in lines and "A restart" not in lines


def test_if_nobody_can_read_the_lowest_is_restarted(stage_for: StageFor) -> None:
    """Somebody has to look: A, as a new process."""
    lines = epilogue(stage_for(CacheAside), "A read, A crash, B read, B lost")
    assert lines[lines.index(READS) :][:3] == [READS, "A restart", "A read"]


def test_a_worker_that_is_down_is_restarted(stage_for: StageFor, caches: ModuleType) -> None:
    """And it finishes what its predecessor left in the queue, before anybody reads."""
    lines = epilogue(stage_for(caches.Queueing), "A write, A ., Q crash", workers=1, probes_s=())
    assert lines == [
        HEAL,
        "Q restart",
        "Q work",
        DRAIN,
        QUIESCE,
        "Q BRPOP -> [queue:user:1 v2]",
        "Q UPDATE -> UPDATE 1",
        "Q commits v2",
        "Q BRPOP waits",
        READS,
    ]


def test_a_worker_whose_loop_ended_is_replaced(stage_for: StageFor, caches: ModuleType) -> None:
    """An error that leaves the main loop ends the process; whoever runs it starts it anew."""
    lines = epilogue(stage_for(caches.Queueing), "Q lost, A write, A .", workers=1, probes_s=())
    assert lines[lines.index(QUIESCE) :][:3] == [QUIESCE, "Q restart", "Q work"]
    assert "Q commits v2" in lines


def test_time_passes_for_those_that_sleep(stage_for: StageFor, caches: ModuleType) -> None:
    """Only when nothing else can happen, and only up to the next deadline."""
    lines = epilogue(
        stage_for(caches.Sleepy), "A read, B read @user:2", keys=("user:1", "user:2"), probes_s=()
    )
    assert lines == [
        HEAL,
        DRAIN,
        "advance 1",
        "B GET -> nil",
        "B ok",
        "advance 1",
        "A GET -> nil",
        "A ok",
        QUIESCE,
        READS,
    ]


def test_a_blocking_command_gives_up(stage_for: StageFor, caches: ModuleType) -> None:
    """A BRPOP that nobody serves ends with its own time-out, in virtual time."""
    lines = epilogue(stage_for(caches.Queueing), "A read, A .", probes_s=())
    assert lines == [HEAL, DRAIN, "advance 5", "A BRPOP -> nil at last", "A ok", QUIESCE, READS]


def test_writers_that_wait_for_each_other_get_through(stage_for: StageFor, caches: ModuleType) -> None:
    """The holder of the lock is drained, and frees the other one."""
    lines = epilogue(stage_for(caches.Transactional), "B write, B ., A write, A .", probes_s=())
    assert [line for line in lines if "commits" in line] == ["B commits v2", "A commits v3"]


def test_whoever_holds_a_lock_releases_it(stage_for: StageFor, caches: ModuleType) -> None:
    """So that those who wait for it get it, and release it in turn; nobody is read where nobody reads."""
    locking = ("acquire", "release")
    script = "A acquire, A ., B acquire, B ., C acquire, C ."
    lines = epilogue(stage_for(caches.Patient), script, clients=3, operations=locking)
    assert [line for line in lines if "SET" not in line and "advance" not in line] == [
        "-- heal --",
        "-- drain --",
        "A release",
        "A DEL -> 1",
        "A ok True",
        "B ok True",
        "B release",
        "B DEL -> 1",
        "B ok True",
        "C ok True",
        "C release",
        "C DEL -> 1",
        "C ok True",
        "-- quiesce --",
        "-- final-reads --",
    ]


def test_what_waits_for_nothing_on_the_wire_is_told(stage_for: StageFor, caches: ModuleType) -> None:
    """An operation that can never end is a problem with its stack, not a hang."""
    stage = stage_for(caches.Stuck)
    run = stage.runner.replay(stage.schedule("A read"))
    assert run.problem is not None
    assert run.problem.startswith("read user:1 on A never returns: no exchange is pending, nobody sleeps")
    assert "in acquire" in run.problem and "in read" in run.problem


def test_what_asks_for_ever_is_told(stage_for: StageFor, caches: ModuleType) -> None:
    """A loop without an end is given up after so many exchanges."""
    stage = stage_for(caches.Endless)
    run = stage.runner.replay(stage.schedule("A write"))
    assert run.problem == "write user:1 on A did not end within 2000 exchanges of the epilogue"
