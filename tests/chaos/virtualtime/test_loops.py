"""chaos.virtualtime.loops: asyncio's timers follow the run's clock, on every kind of selector loop."""

import asyncio
import selectors
import socket
import threading
import time
from collections.abc import Coroutine
from typing import Any

import pytest
import redis.asyncio

from cacheproof.chaos.virtualtime.loops import VirtualSelector

MS = 10**6
SECOND = 10**9
START_NS = 100_000 * SECOND


def now_ns() -> int:
    return time.monotonic_ns() - START_NS


async def _gather() -> list[Any]:
    order: list[float] = []

    async def nap(seconds: float) -> None:
        await asyncio.sleep(seconds)
        order.append(seconds)

    await asyncio.gather(*(nap(seconds) for seconds in (3, 0.1, 3600, 1, 0.05)))
    return order


def gather_sleeps() -> list[Any]:
    return asyncio.run(_gather())


def test_gather(run: Any) -> None:
    """Tasks that sleep wake in the order of their deadlines, each exactly then."""
    outcome = run(gather_sleeps)
    assert outcome.value == [0.05, 0.1, 1, 3, 3600]
    assert outcome.wakes_ns == [50 * MS, 100 * MS, 1 * SECOND, 3 * SECOND, 3600 * SECOND]
    assert outcome.sleepers == ["event loop"]


async def _time_out() -> list[Any]:
    found: list[Any] = []
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        await asyncio.wait_for(asyncio.Event().wait(), 2.5)
    except TimeoutError:
        found.append(loop.time() - started)
    try:
        async with asyncio.timeout(0.5):
            await loop.create_future()
    except TimeoutError:
        found.append(loop.time() - started)
    done, pending = await asyncio.wait([asyncio.ensure_future(asyncio.sleep(9))], timeout=1)
    found += [len(done), len(pending), loop.time() - started]
    for task in pending:
        task.cancel()
    return found


def time_out() -> list[Any]:
    return asyncio.run(_time_out())


def test_time_limits(run: Any) -> None:
    """wait_for, timeout and wait give up in virtual time; loop.time() tells it."""
    assert run(time_out).value == [2.5, 3.0, 0, 1, 4.0]


async def _nap() -> int:
    await asyncio.sleep(1)
    return now_ns()


def make_loops_in_every_way() -> list[int]:
    def on(loop: asyncio.AbstractEventLoop) -> int:
        try:
            return loop.run_until_complete(_nap())
        finally:
            loop.close()

    with asyncio.Runner() as runner:
        found = [runner.run(_nap())]
    found += [asyncio.run(_nap())]
    found += [on(asyncio.new_event_loop()), on(asyncio.SelectorEventLoop())]
    found += [on(asyncio.SelectorEventLoop(selectors.SelectSelector()))]
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        found += [runner.run(_nap())]
    return found


def test_every_loop(run: Any) -> None:
    """Runner, run, new_event_loop, a loop class and a loop with a selector of its own are all virtual."""
    assert run(make_loops_in_every_way).value == [n * SECOND for n in range(1, 7)]


async def _be_interrupted() -> list[Any]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    loop = asyncio.get_running_loop()

    def send_later() -> None:
        time.sleep(1)
        theirs.send(b"x")

    thread = threading.Thread(target=send_later)
    thread.start()
    received = await asyncio.wait_for(loop.sock_recv(ours, 1), 10)
    found = [received.decode(), now_ns()]
    await loop.run_in_executor(
        None, time.sleep, 20
    )  # the loop has no timer now, and must not stand as asleep
    thread.join()
    ours.close()
    theirs.close()
    return [*found, now_ns()]


def be_interrupted() -> list[Any]:
    return asyncio.run(_be_interrupted())


def test_descriptors_interrupt(run: Any) -> None:
    """A loop that something else wakes before its timer takes its announcement back."""
    outcome = run(be_interrupted)
    assert outcome.value == ["x", 1 * SECOND, 21 * SECOND]
    assert outcome.wakes_ns == [1 * SECOND, 21 * SECOND]


async def _be_busy() -> list[int]:
    ours, theirs = socket.socketpair()
    seen: list[int] = []
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    def look() -> None:
        seen.append(len(seen))
        if len(seen) == 10:
            loop.remove_reader(ours)
            done.set()

    theirs.send(b"x")
    loop.add_reader(ours, look)
    await asyncio.wait_for(done.wait(), 10)
    ours.close()
    theirs.close()
    return seen


def be_busy() -> list[int]:
    return asyncio.run(_be_busy())


def test_busy_loops_announce_nothing(run: Any) -> None:
    """A loop that finds work at once never stands as asleep, whatever timer it has."""
    outcome = run(be_busy)
    assert outcome.value == list(range(10))
    assert outcome.sleepers == []


async def _use_threads() -> list[int]:
    await asyncio.gather(asyncio.to_thread(time.sleep, 5), asyncio.sleep(4), asyncio.to_thread(time.sleep, 3))
    return [now_ns()]


def use_threads() -> list[int]:
    return asyncio.run(_use_threads())


def test_threads_beside_a_loop(run: Any) -> None:
    """A loop and threads that sleep in the same client are woken in the order of their deadlines."""
    outcome = run(use_threads)
    assert outcome.value == [5 * SECOND]
    assert outcome.wakes_ns == [3 * SECOND, 4 * SECOND, 5 * SECOND]


async def _serve_oks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while header := await reader.readline():
        command = [(await reader.readline(), await reader.readline())[1] for _ in range(int(header[1:]))]
        if b"SLOW" in command[0]:
            await asyncio.sleep(7)
        writer.write(b"+OK\r\n")
    writer.close()


async def _use_redis() -> list[Any]:
    server = await asyncio.start_server(_serve_oks, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client: Any = redis.asyncio.Redis(host="127.0.0.1", port=port, protocol=2, socket_timeout=30)
    async with client:
        found = [await client.set("k", "v"), now_ns()]
        found += [(await client.execute_command("SLOW")).decode(), now_ns()]
        try:
            await asyncio.wait_for(client.execute_command("SLOW"), 1.5)
        except TimeoutError:
            found.append(now_ns())
    server.close()
    return found


def use_redis() -> list[Any]:
    return asyncio.run(_use_redis())


def test_redis_asyncio(run: Any) -> None:
    """redis.asyncio works unchanged, its time limits included."""
    assert run(use_redis).value == [True, 0, "OK", 7 * SECOND, 8_500 * MS]


def run_real(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(main)


def wait_for_real() -> bool:
    before = time.monotonic_ns()
    run_real(asyncio.sleep(0.001))
    return time.monotonic_ns() - before >= MS // 2


def test_outside_a_run(run: Any) -> None:
    """In a process that never attached, a loop sleeps in real time."""
    assert run(wait_for_real, attached=False).value is True


def test_selector_delegates() -> None:
    """A VirtualSelector registers, modifies, looks up and forgets files as its inner selector does."""
    ours, theirs = socket.socketpair()
    with ours, theirs, VirtualSelector(selectors.SelectSelector()) as selector:
        key = selector.register(ours, selectors.EVENT_READ, "data")
        assert selector.get_key(ours) is key and list(selector.get_map().values()) == [key]
        assert selector.select(0) == []
        theirs.send(b"x")
        assert selector.select(0) == [(key, selectors.EVENT_READ)]
        assert selector.modify(ours, selectors.EVENT_WRITE).events == selectors.EVENT_WRITE
        selector.unregister(ours)
        with pytest.raises(KeyError):
            selector.get_key(ours)
