"""What a cache under test is told about where it is."""

from collections.abc import Callable
from typing import Any

import pytest

from cacheproof.harness.environment import client_name


@pytest.mark.parametrize(
    ("process", "clients", "name"),
    [(0, 2, "A"), (25, 30, "Z"), (26, 30, "client 27"), (2, 2, "worker 1"), (0, 0, "worker 1")],
)
def test_clients_are_letters_and_workers_are_numbered(process: int, clients: int, name: str) -> None:
    """A worker is who comes after the clients."""
    assert client_name(process, clients) == name


def test_a_cache_gets_its_own_addresses_and_the_clock_of_the_run(stage_for: Callable[[Any], Any]) -> None:
    """Each client has ports of its own, and time is virtual: 2.5 seconds later is 2.5 seconds later."""

    class Telling:
        def __init__(self, env: Any) -> None:
            self.env = env
            self.began = env.clock()

        def read(self, key: str) -> str:
            return f"{self.env.client} {self.env.clock() - self.began:.3f}"

        def write(self, key: str, value: str) -> str:
            raise ValueError(f"{self.env.redis_url} {self.env.database_url}")

    stage = stage_for(Telling)
    told = stage.play("A read, B read, advance 2.5, A read, B read, A write, B write").history.operations
    assert [item.value for item in told[:4]] == ["A 0.000", "B 0.000", "A 2.500", "B 2.500"]
    assert "redis://127.0.0.1:<cache port>/0 postgresql://" in str(told[4].error)
    assert len({stage.world.wire.addresses(process) for process in (0, 1)}) == 2
