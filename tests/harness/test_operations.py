"""Operations: values are numbered, and clients start anew.

Scripts and dialogues are those of script.py: A and B are clients, Q is a worker.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from cacheproof.models.decision import (
    Invoke,
    Restart,
)
from cacheproof.patterns.cache_aside import CacheAside

StageFor = Callable[[Any], Any]
COLD_READ = ["A read", "A GET -> nil", "A SELECT -> v1", "A SET -> OK", "A ok v1"]
TWO_KEYS = ("user:1", "user:2")


def test_a_restart_is_a_new_process(stage_for: StageFor) -> None:
    """The crashed client is down, refuses operations, and works again after its restart."""
    with stage_for(CacheAside).open("A read, A .., A crash") as execution:
        assert execution.is_down(0) and not execution.is_enabled(Invoke(0, "read", "user:1"))
        execution.take(Restart(0))
        assert not execution.is_down(0) and execution.is_enabled(Invoke(0, "read", "user:1"))
    lines = stage_for(CacheAside).lines("A read, A .., A crash, A restart, A read, A ...")
    assert lines[-5:] == COLD_READ


def test_a_worker_is_restarted_into_its_loop(stage_for: StageFor, caches: ModuleType) -> None:
    """What it had not taken from the queue is taken by its successor."""
    script = "A write, Q crash, A ., Q restart, Q .."
    assert stage_for(caches.Queueing).lines(script, workers=1) == [
        "Q work",
        "A write v2",
        "Q crash",
        "Q info (the client crashed)",
        "A LPUSH -> 1",
        "A ok v2",
        "Q restart",
        "Q work",
        "Q BRPOP -> [queue:user:1 v2]",
        "Q UPDATE -> UPDATE 1",
        "Q commits v2",
    ]


def test_operations_are_given_what_they_take(stage_for: StageFor, caches: ModuleType) -> None:
    """All keys, pairs of keys with new values, an amount, or nothing; and what they return is recorded."""
    script = "A write_many @-, A read_many @-, A increment, A delete, A acquire, A release, A warm_up @-"
    run = stage_for(caches.Obliging).play(script, keys=TWO_KEYS, operations=("warm_up",))
    told = [(op.f, op.key, op.value, op.result) for op in run.history.operations]
    assert told == [
        ("write_many", None, (("user:1", "v3"), ("user:2", "v4")), (("user:1", "v3"), ("user:2", "v4"))),
        ("read_many", None, TWO_KEYS, (("user:1", "list"), ("user:2", "tuple"))),
        ("increment", "user:1", 1, "(str, int)"),
        ("delete", "user:1", None, None),
        ("acquire", "user:1", 7, 7),
        ("release", "user:1", True, True),
        ("warm_up", None, None, None),
    ]


def test_a_key_is_given_to_whom_it_concerns(stage_for: StageFor) -> None:
    """What takes no key, or all of them, is not invoked on one; what takes one, not without."""
    with stage_for(CacheAside).open() as execution:
        enabled = [
            execution.is_enabled(Invoke(0, f, key))
            for f in ("read", "warm_up", "read_many", "work")
            for key in ("user:1", None)
        ]
        assert enabled == [True, False] + [False, True] * 3


def test_numbers(stage_for: StageFor, caches: ModuleType) -> None:
    """Records start as 0 and hold text; what is read, returned and committed is recorded as numbers."""
    script = "A increment, A ., B read, B ., B write, B ."
    scenario = {"numbers": True, "operations": ("read", "increment")}
    stage = stage_for(caches.Tally)
    assert stage.lines(script, **scenario, epilogue=True)[-4:] == [
        *("-- final-reads --", "A read", "A SELECT -> 3", "A ok 3")
    ]
    history = stage.play(script, **scenario).history
    assert history.initial == {"user:1": 0}
    assert [commit.value for commit in history.commits["user:1"]] == [1, 3]
    assert [(op.f, op.value, op.result) for op in history.operations] == [
        ("increment", 1, 1),
        ("read", 1, 1),
        ("write", 3, 3),
        ("read", 3, 3),
    ]


def test_values_are_numbered_by_the_run(stage_for: StageFor) -> None:
    """Two records start as v1 and v2; writes get v3 and v4 whoever writes."""
    lines = stage_for(CacheAside).lines("B write @user:2, B .., A write, A ..", keys=TWO_KEYS)
    assert [line for line in lines if "commits" in line] == ["B commits v3 @user:2", "A commits v4"]
