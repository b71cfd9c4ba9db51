"""Kills of the cache on real servers: what they do to clients and history.

Scripts and dialogues are those of script.py: A and B are clients, Q is a worker.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from cacheproof.patterns.cache_aside import CacheAside

StageFor = Callable[[Any], Any]
COLD_READ = ["A read", "A GET -> nil", "A SELECT -> v1", "A SET -> OK", "A ok v1"]


def test_while_the_cache_is_down_clients_are_refused(stage_for: StageFor) -> None:
    """Known and new clients alike; nothing of the cache survives, and both connect again afterwards."""
    lines = stage_for(CacheAside).lines(
        "A read, A ..., kill, A read, B read, start, A read, A ..., B read, B ."
    )
    assert lines[5:] == [
        "kill cache",
        "A read",
        lines[7],
        "B read",
        lines[9],
        "start cache",
        *COLD_READ,
        "B read",
        "B GET -> v1",
        "B ok v1",
    ]
    assert all("fail" in line and "refused" in line for line in (lines[7], lines[9]))


def test_a_dying_cache_resets_what_waits_for_it(stage_for: StageFor, caches: ModuleType) -> None:
    """An operation in the middle of an exchange with the cache fails at once; a BRPOP is one, too."""
    lines = stage_for(CacheAside).lines("A write, A ., kill, start")
    assert lines[3] == "kill cache" and lines[4].startswith("A info v2 (ConnectionError: ")
    lines = stage_for(caches.Queueing).lines("A read, A ., kill, start, B write, B .")
    assert lines[2] == "kill cache" and lines[3].startswith("A fail (ConnectionError: ")
    assert lines[-3:] == ["B write v2", "B LPUSH -> 1", "B ok v2"]
