"""Crashes of clients on real servers: what they do to clients and history.

Scripts and dialogues are those of script.py: A and B are clients, Q is a worker.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

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
