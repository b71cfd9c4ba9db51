"""Inside a client: what a cache may be, what it may return, and what is told of its errors."""

import time
from collections.abc import Callable
from typing import Any

import pytest

StageFor = Callable[[Any], Any]


class Nothing:
    """A cache that does nothing, to be filled in."""

    def __init__(self, env: Any) -> None: ...

    def read(self, key: str) -> Any: ...

    def write(self, key: str, value: str) -> Any: ...


@pytest.mark.parametrize("value", ["v1", "", "größe", 7, 1.5, True, None])
def test_scalars_are_returned_as_they_are(stage_for: StageFor, value: Any) -> None:
    """One JSON scalar, and of the same type."""

    class Returning(Nothing):
        def read(self, key: str) -> Any:
            return value

    (operation,) = stage_for(Returning).play("A read", probes_s=()).history.operations
    assert operation.value == value and type(operation.value) is type(value)


@pytest.mark.parametrize(
    ("value", "advice"),
    [(b"v1", "decode_responses=True"), (["v1"], "return the value alone"), (object(), "")],
)
def test_anything_else_is_a_problem(stage_for: StageFor, value: Any, advice: str) -> None:
    """With its type and what to do; bytes come from a driver that was not told to decode."""

    class Returning(Nothing):
        def read(self, key: str) -> Any:
            return value

    stage = stage_for(Returning)
    problem = str(stage.runner.replay(stage.schedule("A read")).problem)
    assert f"of type {type(value).__name__}" in problem and advice in problem


def test_what_a_write_returns_is_not_looked_at(stage_for: StageFor) -> None:
    """Many a client returns a cursor or a count."""

    class Returning(Nothing):
        def write(self, key: str, value: str) -> Any:
            return object()

    assert stage_for(Returning).lines("A write") == ["A write v2", "A ok v2"]


def test_sync_and_async_methods_may_be_mixed(stage_for: StageFor) -> None:
    """A method whose result can be awaited is; the loop is kept from call to call."""

    class Mixed(Nothing):
        loops: Any = None

        async def read(self, key: str) -> bool:
            import asyncio

            before, self.loops = self.loops, asyncio.get_running_loop()
            return before is self.loops

        def write(self, key: str, value: str) -> None: ...

    operations = stage_for(Mixed).play("A read, A write, A read", probes_s=()).history.operations
    assert [item.value for item in operations] == [False, "v2", True]


def test_an_instance_belongs_to_one_client_and_one_run(stage_for: StageFor) -> None:
    """Constructed anew for each, before its first operation."""

    class Remembering(Nothing):
        def __init__(self, env: Any) -> None:
            self.reads = 0

        def read(self, key: str) -> int:
            self.reads += 1
            return self.reads

    stage = stage_for(Remembering)
    for _ in range(2):
        operations = stage.play("A read, A read, B read", probes_s=()).history.operations
        assert [item.value for item in operations] == [1, 2, 1]


def test_an_error_is_told_by_type_and_words(stage_for: StageFor) -> None:
    """On one line, however many it had."""

    class Failing(Nothing):
        def read(self, key: str) -> Any:
            raise LookupError("nothing\n  there")

    assert stage_for(Failing).lines("A read", probes_s=()) == [
        "A read",
        "A fail (LookupError: nothing there)",
    ]


def test_chance_is_the_seeds(stage_for: StageFor) -> None:
    """What is drawn at random is the same in every run of one seed, and differs between clients."""

    class Drawing(Nothing):
        def read(self, key: str) -> int:
            import random

            return random.randrange(10**9)

    stage = stage_for(Drawing)
    values = [
        tuple(item.value for item in stage.play("A read, B read", probes_s=()).history.operations)
        for _ in range(2)
    ]
    assert values[0] == values[1] and len(set(values[0])) == 2


def test_a_process_that_has_slept_serves_the_next_run(stage_for: StageFor) -> None:
    """What it slept by is nothing that was left open."""

    class Sleeping(Nothing):
        def read(self, key: str) -> None:
            time.sleep(1)

    stage, pids = stage_for(Sleeping), []
    for _ in range(3):
        with stage.open("A read, advance 1") as execution:
            assert execution.operation(0) is None
            pids.append(execution.crew.get(0).pid)
    assert len(set(pids)) == 1
