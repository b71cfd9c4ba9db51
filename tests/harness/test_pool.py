"""`harness/pool.py`: tasks side by side, none of which is lost and none of which goes on for nobody."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from cacheproof.harness.pool import Act, Done, Tell, run_tasks
from cacheproof.models.errors import EnvironmentFault, HarnessError, UsageError


def silent(_: str) -> None:
    """Nobody listens."""


def making(act: Act) -> Callable[[], AbstractContextManager[Act]]:
    @contextmanager
    def make() -> Iterator[Act]:
        yield act

    return make


def squared(task: int, tell: Tell) -> tuple[int, int]:
    tell(f"squaring {task}")
    return task * task, os.getpid()


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_every_task_is_done_once(jobs: int) -> None:
    """Whoever does it, and the words about it arrive."""
    heard: list[str] = []
    found = {done.task: done for done in run_tasks(range(7), making(squared), jobs=jobs, tell=heard.append)}
    assert {task: done.result[0] for task, done in found.items()} == {task: task * task for task in range(7)}
    assert sorted(heard) == [f"squaring {task}" for task in range(7)]
    processes = {done.result[1] for done in found.values()}
    assert (processes == {os.getpid()}) if jobs == 1 else (os.getpid() not in processes)
    assert len(processes) <= jobs


def test_what_is_made_is_made_once_a_worker() -> None:
    """Servers are started for each worker, not for each task."""

    @contextmanager
    def make() -> Iterator[Act]:
        made = os.urandom(4)
        yield lambda task, tell: made

    found = [done.result for done in run_tasks(range(6), make, jobs=2, tell=silent)]
    assert len(found) == 6 and len(set(found)) <= 2


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    ("error", "words"), [(UsageError("no such page"), "no such page"), (KeyError("x"), "KeyError")]
)
def test_an_error_ends_its_task_alone(jobs: int, error: Exception, words: str) -> None:
    """The others are done, and the error comes in words."""

    def act(task: int, tell: Tell) -> int:
        if task == 1:
            raise error
        return task

    found = {done.task: done for done in run_tasks(range(4), making(act), jobs=jobs, tell=silent)}
    assert [found[task].result for task in (0, 2, 3)] == [0, 2, 3]
    assert words in str(found[1].error)


def test_a_worker_that_dies_is_named_with_its_task() -> None:
    """What was done before has been yielded; then the search ends."""

    def act(task: int, tell: Tell) -> int:
        if task == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return task

    seen: list[Done] = []
    with pytest.raises(HarnessError, match="task 2 ended without a word"):
        seen.extend(run_tasks(range(3), making(act), jobs=2, tell=silent))
    assert {done.task for done in seen} <= {0, 1}


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_cannot_be_made_is_said(jobs: int) -> None:
    """Without servers no task can be done."""

    @contextmanager
    def make() -> Iterator[Act]:
        raise EnvironmentFault("no binaries")
        yield squared

    with pytest.raises(EnvironmentFault, match="no binaries"):
        list(run_tasks(range(2), make, jobs=jobs, tell=silent))


def test_nothing_goes_on_after_an_interruption() -> None:
    """Whoever stops asking for results ends the workers, also one that would never end by itself."""
    reading, writing = os.pipe()

    def act(task: int, tell: Tell) -> int:
        while task:
            os.sched_yield()
        return task

    tasks = run_tasks(range(2), making(act), jobs=2, tell=silent)
    assert next(tasks).task == 0
    tasks.close()
    os.close(writing)
    assert os.read(reading, 1) == b""  # the last holder of the other end is gone
    os.close(reading)


def test_an_interrupt_is_left_to_the_parent() -> None:
    """Ctrl-C at a terminal reaches every process; the tasks that are being done are not torn."""

    def act(task: int, tell: Tell) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return task

    assert [done.result for done in run_tasks(range(2), making(act), jobs=2, tell=silent)] in ([0, 1], [1, 0])
