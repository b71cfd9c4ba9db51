"""chaos.virtualtime.installation: installed once, attached in each client, inherited by its children."""

import os
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from cacheproof.chaos import virtualtime
from cacheproof.chaos.clock import RunClock, SleepChannel
from cacheproof.models.errors import HarnessError

SECOND = 10**9
START_NS = 100_000 * SECOND


def now_ns() -> int:
    return time.monotonic_ns() - START_NS


def install_again() -> str:
    try:
        virtualtime.install(RunClock.create())
    except HarnessError as error:
        return str(error)
    return ""


def test_installed_once(run: Any) -> None:
    """A second installation, which would stack one replacement upon another, is refused."""
    assert run(install_again).value.startswith("virtual time is installed in this process already")


def sleep_in_two_threads(prepared: bool) -> list[str]:
    if prepared:
        virtualtime.prepare()
    thread = threading.Thread(target=lambda: time.sleep(1))
    thread.start()
    thread.join()
    time.sleep(1)
    return [f"thread {thread.native_id}", f"thread {threading.get_native_id()}"]


@pytest.mark.parametrize("prepared", [False, True])
def test_a_thread_that_is_prepared_comes_first(run: Any, prepared: bool) -> None:
    """Its channel is there before it sleeps; else those come first that sleep first."""
    outcome = run(sleep_in_two_threads, prepared)
    assert outcome.sleepers == (outcome.value[::-1] if prepared else outcome.value)


def test_attach_needs_an_installation() -> None:
    """A client whose zygote installed nothing is told so."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, pytest.raises(HarnessError, match=r"not installed; call install\(clock\)"):
        virtualtime.attach(ours)


def _in_a_child(work: Any) -> bytes:
    """What `work` returns in a forked child."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, work())
        os._exit(0)
    os.close(writing)
    found = os.read(reading, 1000)
    os.close(reading)
    os.waitpid(child, 0)
    return found


def fork_a_child() -> list[int]:
    time.sleep(1)  # so that this thread has a channel which the child must not use

    def sleep_and_tell() -> bytes:
        time.sleep(2)
        event = threading.Event()
        event.wait(4)
        return str(now_ns()).encode()

    childs_ns = int(_in_a_child(sleep_and_tell))
    time.sleep(8)
    return [childs_ns, now_ns()]


def test_children_of_clients(run: Any) -> None:
    """A process that a client forks sleeps by the same clock, on a channel of its own; its parent goes on."""
    outcome = run(fork_a_child)
    assert outcome.value == [7 * SECOND, 15 * SECOND]
    assert outcome.wakes_ns == [1 * SECOND, 3 * SECOND, 7 * SECOND, 15 * SECOND]
    assert len(outcome.sleepers) == 2


def fork_while_others_wait() -> list[Any]:
    lock = threading.Lock()
    lock.acquire()
    waiter = threading.Thread(target=lambda: lock.acquire(timeout=3))
    waiter.start()
    time.sleep(1)

    def release_and_wait() -> bytes:
        rings: list[SleepChannel] = []
        SleepChannel.ring = rings.append  # type: ignore[assignment,method-assign]  # only in this process
        lock.release()
        lock.acquire()
        return f"{len(rings)} {lock.acquire(timeout=1)}".encode()

    found = _in_a_child(release_and_wait).decode()
    waiter.join()
    return [found, now_ns()]


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python warns about a fork beside threads")
def test_fork_beside_a_waiting_thread(run: Any) -> None:
    """A child does not ring the threads of its parent that wait for a lock with the same address."""
    outcome = run(fork_while_others_wait)
    assert outcome.value == ["0 False", 3 * SECOND]


def run_a_program() -> list[Any]:
    before = now_ns()
    process = subprocess.Popen(["/bin/sh", "-c", "read line"], stdin=subprocess.PIPE)
    try:
        process.wait(timeout=0.01)
    except subprocess.TimeoutExpired:
        found = ["still running", now_ns() - before]
    process.communicate(timeout=30)
    return [*found, process.returncode]


def test_subprocesses_keep_real_time(run: Any) -> None:
    """Waiting for another program with a time limit takes real time, as the other program does."""
    outcome = run(run_a_program)
    assert outcome.value == ["still running", 0, 1]
    assert outcome.wakes_ns == []


def install_and_attach_at_once() -> bytes:
    clock = RunClock.create()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    clock.set_ns(5 * SECOND)
    with ours, theirs:
        virtualtime.install(clock, lambda: ours)
        return str(now_ns()).encode()


def test_attached_at_once() -> None:
    """A registrar given to `install` attaches the process itself, which a fresh interpreter may want."""
    script = f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})\n" + (
        "import test_installation as t; print(t.install_and_attach_at_once().decode())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "5000000000\n"
