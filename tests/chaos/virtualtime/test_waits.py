"""chaos.virtualtime.waits: timed waits of threads end by the run's clock, or by what they wait for."""

import concurrent.futures
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg_pool
import redis

MS = 10**6
SECOND = 10**9
START_NS = 100_000 * SECOND


def now_ns() -> int:
    return time.monotonic_ns() - START_NS


def after(seconds: float, action: Callable[[], Any]) -> threading.Thread:
    """A thread that does something later."""

    def act() -> None:
        time.sleep(seconds)
        action()

    thread = threading.Thread(target=act)
    thread.start()
    return thread


def measure(wait: Callable[[], Any]) -> list[Any]:
    """What a wait returned (or the name of what it raised), and how long it took."""
    before = now_ns()
    try:
        value = wait()
    except (queue.Empty, queue.Full, TimeoutError, threading.BrokenBarrierError) as error:
        value = type(error).__name__
    return [value, now_ns() - before]


def spin_on_a_lock() -> int:
    """The lock loop of many caches, for a minute."""
    lock, tries = threading.Lock(), 0
    lock.acquire()
    while not lock.acquire(blocking=False) and now_ns() < 60 * SECOND:
        tries += 1
        time.sleep(0.05)
    return tries


def test_lock_loop(run: Any) -> None:
    """A loop that sleeps 50 ms between its tries takes a minute of the run, in a fraction of a real second."""
    outcome = run(spin_on_a_lock)
    assert outcome.value == 1200
    assert outcome.at_ns == 60 * SECOND
    assert outcome.wakes_ns == [50 * MS * (n + 1) for n in range(1200)]


def sleep_an_hour() -> None:
    time.sleep(3600)


def test_an_hour(run: Any) -> None:
    """An hour is one wake-up."""
    assert run(sleep_an_hour).wakes_ns == [3600 * SECOND]


def time_out_everywhere() -> dict[str, list[Any]]:
    locked, relocked, full = threading.Lock(), threading.RLock(), queue.Queue[int](maxsize=1)
    locked.acquire()
    holder = after(0, relocked.acquire)
    holder.join()
    full.put(1)
    condition, future = threading.Condition(), concurrent.futures.Future[None]()
    stuck = threading.Event()
    thread = threading.Thread(target=stuck.wait)
    thread.start()

    def wait_for_condition() -> bool:
        with condition:
            return condition.wait(0.25)

    found = {
        "lock": measure(lambda: locked.acquire(timeout=0.25)),
        "rlock": measure(lambda: relocked.acquire(timeout=0.25)),
        "event": measure(lambda: threading.Event().wait(0.25)),
        "condition": measure(wait_for_condition),
        "semaphore": measure(lambda: threading.Semaphore(0).acquire(timeout=0.25)),
        "barrier": measure(lambda: threading.Barrier(2).wait(0.25)),
        "get": measure(lambda: queue.Queue[int]().get(timeout=0.25)),
        "put": measure(lambda: full.put(2, timeout=0.25)),
        "simple": measure(lambda: queue.SimpleQueue[int]().get(timeout=0.25)),
        "join": measure(lambda: thread.join(0.25)),
        "result": measure(lambda: future.result(0.25)),
        "wait": measure(lambda: len(concurrent.futures.wait([future], 0.25).not_done)),
    }
    stuck.set()
    thread.join()
    return found


def test_every_wait_times_out(run: Any) -> None:
    """Each kind of timed wait for something that never comes ends at its deadline, to the nanosecond."""
    value = run(time_out_everywhere).value
    expected: dict[str, Any] = dict.fromkeys(["lock", "rlock", "event", "condition", "semaphore"], False)
    expected |= {"barrier": "BrokenBarrierError", "get": "Empty", "put": "Full", "simple": "Empty"}
    expected |= {"join": None, "result": "TimeoutError", "wait": 1}
    assert value == {name: [result, 250 * MS] for name, result in expected.items()}


def be_served_in_time() -> dict[str, list[Any]]:
    lock, relock, event, semaphore = (
        threading.Lock(),
        threading.RLock(),
        threading.Event(),
        threading.Semaphore(0),
    )
    condition, barrier = threading.Condition(), threading.Barrier(2)
    full, empty, simple = queue.Queue[int](1), queue.Queue[int](), queue.SimpleQueue[int]()
    future = concurrent.futures.Future[str]()
    full.put(1)
    lock.acquire()
    holding = threading.Event()

    def hold() -> None:
        with relock, relock:
            holding.set()
            time.sleep(0.5)

    def notify() -> None:
        with condition:
            condition.notify()

    def wait_for_condition() -> bool:
        with condition:
            return condition.wait(10)

    def waiting_while(action: Callable[[], Any], wait: Callable[[], Any]) -> list[Any]:
        thread = after(0.5, action)
        found = measure(wait)
        thread.join()
        return found

    found = {
        "lock": waiting_while(lock.release, lambda: lock.acquire(timeout=10)),
        "event": waiting_while(event.set, lambda: event.wait(10)),
        "condition": waiting_while(notify, wait_for_condition),
        "semaphore": waiting_while(semaphore.release, lambda: semaphore.acquire(timeout=10)),
        "barrier": waiting_while(lambda: barrier.wait(10), lambda: barrier.wait(10) in (0, 1)),
        "get": waiting_while(lambda: empty.put(7), lambda: empty.get(timeout=10)),
        "put": waiting_while(full.get, lambda: full.put(2, timeout=10)),
        "simple": waiting_while(lambda: simple.put(7), lambda: simple.get(timeout=10)),
        "simple nowait": waiting_while(lambda: simple.put_nowait(8), lambda: simple.get(timeout=10)),
        "result": waiting_while(lambda: future.set_result("r"), lambda: future.result(10)),
    }
    sleeper = after(0.5, lambda: None)
    found["join"] = measure(lambda: sleeper.join(10))
    owner = threading.Thread(target=hold)
    owner.start()
    holding.wait()
    found["rlock"] = measure(lambda: relock.acquire(timeout=10) and relock.acquire(timeout=10))
    relock.release()
    relock.release()
    owner.join()
    return found


def test_every_wait_is_served(run: Any) -> None:
    """Each kind of timed wait ends when what it waits for comes, though its deadline is far away."""
    value = run(be_served_in_time).value
    expected: dict[str, Any] = dict.fromkeys(
        ["lock", "rlock", "event", "condition", "semaphore", "barrier"], True
    )
    expected |= {"get": 7, "put": None, "simple": 7, "simple nowait": 8, "result": "r"}
    expected["join"] = None
    assert value == {name: [result, 500 * MS] for name, result in expected.items()}


def give_up_a_condition() -> list[Any]:
    condition, holding = threading.Condition(), threading.Event()

    def wait_while_holding_it_twice() -> None:
        with condition, condition:
            holding.set()
            time.sleep(1)
            condition.wait(5)

    thread = threading.Thread(target=wait_while_holding_it_twice)
    thread.start()
    holding.wait()
    found = measure(lambda: condition.acquire(timeout=10))
    condition.release()
    thread.join()
    return [*found, now_ns()]


def test_conditions_give_up_their_lock(run: Any) -> None:
    """When a thread that holds a condition's lock twice begins to wait, who waits for that lock gets it."""
    assert run(give_up_a_condition).value == [True, 1 * SECOND, 6 * SECOND]


def take_turns() -> list[Any]:
    lock, order = threading.Lock(), list[str]()
    lock.acquire()

    def queue_up(name: str, timeout_s: float) -> None:
        got = lock.acquire(timeout=timeout_s)
        order.append(f"{name} {got} {now_ns() // MS}")
        if got:
            time.sleep(1)
            lock.release()

    threads = []
    for name, timeout_s in (("a", 10.0), ("b", 0.25), ("c", 1.75), ("d", 10.0)):
        threads.append(threading.Thread(target=queue_up, args=(name, timeout_s)))
        threads[-1].start()
        time.sleep(0.1)
    lock.release()
    for thread in threads:
        thread.join()
    return order


def test_first_come_first_served(run: Any) -> None:
    """Threads that wait for one lock get it in turn, and one that gives up takes nobody's turn."""
    assert run(take_turns).value == ["b False 350", "a True 400", "c True 1400", "d True 2400"]


class Interrupted(Exception):
    pass


def be_interrupted() -> list[Any]:
    """The first in line is served and interrupted at once; the second must not miss its turn."""
    lock, main = threading.Lock(), threading.get_ident()
    lock.acquire()
    found: list[Any] = []

    def interrupt(*_: object) -> None:
        raise Interrupted

    def interrupt_and_release() -> None:
        signal.pthread_kill(main, signal.SIGUSR1)
        lock.release()

    signal.signal(signal.SIGUSR1, interrupt)
    second = after(1, lambda: found.append(measure(lambda: lock.acquire(timeout=10))))
    third = after(2, interrupt_and_release)
    try:
        lock.acquire(timeout=10)
    except Interrupted:
        found.append("interrupted")
    second.join()
    third.join()
    return found


def test_interrupted_while_served(run: Any) -> None:
    """A thread that is interrupted just as its turn comes passes it on to the next in line."""
    outcome = run(be_interrupted)
    assert len(outcome.value) == 2  # either may be the first to say so
    assert "interrupted" in outcome.value and [True, 1 * SECOND] in outcome.value
    assert outcome.wakes_ns == [1 * SECOND, 2 * SECOND]


def join_often() -> list[Any]:
    alive: list[Any] = []
    for _ in range(50):
        thread = after(0.5, lambda: None)
        thread.join(10)
        alive.append(thread.is_alive())
    for thread in (threading.current_thread(), threading.Thread()):
        try:
            thread.join(1)
        except RuntimeError as error:
            alive.append(str(error))
    return alive


def test_join(run: Any) -> None:
    """After a join that did not time out the thread is not alive; joins that make no sense are refused."""
    outcome = run(join_often)
    refusals = ["cannot join current thread", "cannot join thread before it is started"]
    assert outcome.value == [False] * 50 + refusals
    assert outcome.at_ns == 25 * SECOND


def contend() -> list[Any]:
    """Eight threads, one lock, some with a time limit: is it ever held twice, does anybody starve?"""
    lock, held, clashes, done = threading.Lock(), list[int](), list[int](), list[int]()

    def work(me: int) -> None:
        for _ in range(40):
            if me % 2 and not lock.acquire(timeout=1000):
                continue
            if not me % 2:
                lock.acquire()
            held.append(me)
            if me == 3:
                time.sleep(0.01)
            if held != [me]:
                clashes.append(me)
            held.clear()
            done.append(me)
            lock.release()

    threads = [threading.Thread(target=work, args=(me,)) for me in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [clashes, len(done)]


def test_contention(run: Any) -> None:
    """With and without time limits side by side, a lock excludes, and every wait is served."""
    outcome = run(contend)
    assert outcome.value == [[], 320]
    assert outcome.at_ns == 400 * MS


def fire_a_timer() -> list[int]:
    fired: list[int] = []
    timer = threading.Timer(2.5, lambda: fired.append(now_ns()))
    never = threading.Timer(1, lambda: fired.append(-1))
    timer.start()
    never.start()
    never.cancel()
    timer.join()
    never.join(5)
    return fired


def test_timer(run: Any) -> None:
    """A Timer fires at its virtual time, and a cancelled one neither fires nor keeps anybody waiting."""
    outcome = run(fire_a_timer)
    assert outcome.value == [2_500 * MS]
    assert outcome.at_ns == 2_500 * MS


def odd_timeouts() -> list[Any]:
    lock, found = threading.Lock(), list[Any]()
    lock.acquire()
    for blocking, timeout in ((True, -2), (False, 1), (True, float("nan")), (True, 1e300), (True, "1")):
        try:
            lock.acquire(blocking, timeout)  # type: ignore[arg-type]
        except (ValueError, OverflowError, TypeError) as error:
            found.append(type(error).__name__)
    found += [lock.acquire(timeout=0), lock.acquire(False), lock.locked()]
    lock.release()
    for timeout in (-1, 0):
        try:
            queue.SimpleQueue[int]().get(timeout=timeout)
        except (ValueError, queue.Empty) as error:
            found.append(type(error).__name__)
    try:
        lock.release()
    except RuntimeError as error:
        found.append(type(error).__name__)
    return found


def test_odd_timeouts(run: Any) -> None:
    """Time limits of zero do not wait, and nonsense is refused as ever."""
    outcome = run(odd_timeouts)
    errors = ["ValueError", "ValueError", "ValueError", "OverflowError", "TypeError"]
    assert outcome.value == [*errors, False, False, True, "ValueError", "Empty", "RuntimeError"]
    assert outcome.wakes_ns == []


def wait_for_real() -> list[bool]:
    simple, event = queue.SimpleQueue[int](), threading.Event()
    thread = threading.Thread(target=event.wait)
    thread.start()
    thread.join(0.001)
    found = [event.wait(0.001), thread.is_alive()]
    try:
        simple.get(timeout=0.001)
    except queue.Empty:
        found.append(True)
    event.set()
    thread.join(10)
    return [*found, thread.is_alive()]


def test_outside_a_run(run: Any) -> None:
    """In a process that never attached, waits time out in real time."""
    assert run(wait_for_real, attached=False).value == [False, True, True, False]


def nap(seconds: int) -> int:
    time.sleep(seconds)
    return seconds


def use_a_thread_pool() -> list[Any]:
    with concurrent.futures.ThreadPoolExecutor(3) as executor:
        futures = [executor.submit(nap, seconds) for seconds in (3, 1, 2)]
        order = [future.result() for future in concurrent.futures.as_completed(futures, timeout=5)]
        slow = executor.submit(time.sleep, 9)
        return [order, *measure(lambda: slow.result(timeout=4))]


def test_thread_pool(run: Any) -> None:
    """Work in a thread pool is done in the order of virtual time, and its time limits are virtual."""
    outcome = run(use_a_thread_pool)
    assert outcome.value == [[1, 2, 3], "TimeoutError", 4 * SECOND]
    assert outcome.at_ns == 12 * SECOND


def serve_pongs() -> int:
    """A server that answers every Redis command with OK; its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket) -> None:
        stream = connection.makefile("rwb")
        while header := stream.readline():
            for _ in range(int(header[1:])):
                stream.readline(), stream.readline()
            stream.write(b"+OK\r\n")
            stream.flush()

    def accept() -> None:
        while True:
            threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return int(listener.getsockname()[1])


def exhaust_a_redis_pool() -> list[Any]:
    pool: Any = redis.BlockingConnectionPool(  # type: ignore[no-untyped-call]  # as redis-py has it
        max_connections=1, timeout=3, host="127.0.0.1", port=serve_pongs(), protocol=2, socket_timeout=5
    )
    client = redis.Redis(connection_pool=pool)
    connection = pool.get_connection()
    before = now_ns()
    try:
        client.set("k", "v")
    except redis.ConnectionError as error:
        found = [str(error), now_ns() - before]
    thread = after(1, lambda: pool.release(connection))
    found += measure(lambda: client.set("k", "v"))
    thread.join()
    return found


def test_redis_blocking_pool(run: Any) -> None:
    """redis-py's blocking pool times out in virtual time, and is served in virtual time."""
    message, waited_ns, value, served_ns = run(exhaust_a_redis_pool).value
    assert message == "No connection available."
    assert abs(waited_ns - 3 * SECOND) <= 1  # its loop may find a rounding error of a float left to wait for
    assert (value, served_ns) == (True, 1 * SECOND)


def exhaust_a_psycopg_pool() -> list[Any]:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    pool: Any = psycopg_pool.ConnectionPool(
        f"host=127.0.0.1 port={port} dbname=d", min_size=1, open=False, reconnect_timeout=60
    )
    pool.open()
    before = now_ns()
    try:
        pool.getconn(timeout=4.5)
    except psycopg_pool.PoolTimeout as error:
        found = [type(error).__name__, now_ns() - before]
    pool.close()
    return found


def test_psycopg_pool(run: Any) -> None:
    """psycopg's pool, whose threads try to connect again and again, gives up in virtual time."""
    assert run(exhaust_a_psycopg_pool).value == ["PoolTimeout", 4_500 * MS]
