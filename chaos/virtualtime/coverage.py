"""What follows the run's clock and what does not, in words that reports print.

A verdict about a cache that uses something from NOT_VIRTUALISED may depend on real time.
"""

from collections.abc import Mapping

__all__ = ["NOT_VIRTUALISED", "VIRTUALISED"]

VIRTUALISED: Mapping[str, str] = {
    "time.time, time_ns": "2020-01-01T00:00:00Z plus the virtual time of the run",
    "time.monotonic, perf_counter and their _ns variants": "100,000 s plus the virtual time of the run",
    "time.clock_gettime, clock_gettime_ns": "the clocks REALTIME, TAI, MONOTONIC, MONOTONIC_RAW and BOOTTIME",
    "time.localtime, gmtime, ctime, asctime, strftime": "when called without a time",
    "time.sleep": "costs virtual time only; sleep(0) gives way for real",
    "datetime.datetime.now, utcnow, today; datetime.date.today": "subclasses too",
    "threading": "acquire, wait and join with a timeout: Lock, RLock, Condition, Event, Semaphore, Barrier, "
    "Timer, Thread",
    "queue": "get and put with a timeout: Queue, LifoQueue, PriorityQueue, SimpleQueue",
    "concurrent.futures": "result, exception, wait, as_completed and map with a timeout, on threads",
    "asyncio": "loop.time, call_later, sleep, timeout, wait_for, wait, on every selector event loop",
    "socket timeouts": "of recv, recv_into, recvfrom and recvmsg, while a partition or a frozen server keeps something "
    "back on that connection (redis-py: socket_timeout); at no other time: neither a request that no decision has "
    "delivered yet nor a command that waits for an event times anybody out",
}

NOT_VIRTUALISED: Mapping[str, str] = {
    "socket timeouts of other kinds": "of sending, connecting and accepting, of TLS, and of waiting for what nobody was "
    "asked for (get_message(timeout=…) of a subscription): they never fire, and a connection can be made even "
    "through a partition, which then keeps back the first reply",
    "select, poll, epoll, selectors": "called directly with a timeout, they wait in real time",
    "uvloop and other event loops not based on asyncio's selector loop": "timers run in real time",
    "time limits inside C extensions": "libpq (connect_timeout) and other drivers wait in real time",
    "subprocess, multiprocessing, signal.alarm, setitimer, sigtimedwait": "other processes live in real time",
    "time.process_time, thread_time": "processor time is real",
    "a loop that watches the clock without sleeping": "never ends: only a client that blocks lets time pass",
    "readings taken before the client was forked": "an import that stores time.time() stored real time",
    "time functions held in a list, a tuple, __slots__ or a C extension": "when they were put there before "
    "the zygote was made",
    "lock.acquire taken off its lock": "and conditions, with regard to acquire(timeout=…), when they were made "
    "before the zygote",
    "files": "times of creation and change are real",
}
