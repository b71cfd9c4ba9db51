"""Inside a client process: one instance of the cache under test, one operation at a time.

Forked from the zygote, where time and chance are already patched.  It holds a control line to the director
and nothing else of the harness.  One packet is one JSON object:

    director → client   {"seed": n, "client": number}: a run begins; forget the last one, construct the cache anew
                        {"f": "read", "args": ["user:1"]}, as the table of models/workload.py says
    client → director   {"ready": pid} when the cache has been constructed, {"unusable": why} if it raised,
                        {"tired": why} if something of the last run is left, so that a new process is needed
                        {"value": …}, {"error": why} or {"wrong": why} for each operation
                        {"gone": why} if an operation ends the process, as SystemExit does

A packet also has "around": addresses, once the process has connected to anything that is not on the wire.

A process may serve several runs, one after the other, each with an instance of its own: forking one anew costs
ten times as much as all else in a short run.  It does so only while nothing is left of the run before: no
thread, no open file, no connection.
"""

import asyncio
import contextlib
import gc
import inspect
import json
import os
import socket
import traceback
from collections.abc import Callable
from typing import Any, NoReturn
from urllib.parse import urlsplit

from cacheproof.chaos import chance, virtualtime
from cacheproof.chaos.bypass import watch_connects
from cacheproof.harness.environment import Environment
from cacheproof.models.workload import Unrecordable, as_recorded, kind_of

__all__ = ["MAX_PACKET", "MakeCache", "client_main"]

MAX_PACKET = 1 << 17
MakeCache = Callable[[Environment], Any]
_ENDS = (SystemExit, KeyboardInterrupt)
"""What ends a process; whatever else an operation raises is its error."""

_around: list[str] = []
"""What this process has connected to around the wire."""


def client_main(
    make_cache: MakeCache, environment: Environment, control: socket.socket, registrar: socket.socket
) -> NoReturn:
    """Serve the director until it closes the control line; never returns."""
    global _around
    code = 1
    try:
        urls = (environment.redis_url, environment.database_url)
        _around = watch_connects([port for url in urls if (port := urlsplit(url).port)])
        virtualtime.attach(registrar)
        virtualtime.prepare()
        _serve(make_cache, environment, control)
        code = 0
    except _ENDS as error:
        with contextlib.suppress(OSError):  # the director may be gone: then this is how it ends
            _send(control, {"gone": _told(error)})
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _serve(make_cache: MakeCache, environment: Environment, control: socket.socket) -> None:
    packet = control.recv(MAX_PACKET)
    runs = 0
    while packet:
        packet = _serve_run(make_cache, environment, control, json.loads(packet))
        gc.collect()
        runs += 1
        if runs == 1:
            gc.freeze()  # what drivers keep for good since their first use need not be looked through again


def _serve_run(
    make_cache: MakeCache, environment: Environment, control: socket.socket, begin: dict[str, int]
) -> bytes:
    """Serve one run; returns the packet that begins the next one, or nothing."""
    if left := _left_over():
        _send(control, {"tired": left})
        return b""
    chance.seed(begin["seed"])
    virtualtime.go_by_clock_of(begin["client"])
    try:
        cache = make_cache(environment)
    except _ENDS:
        raise
    except BaseException as error:
        _send(control, {"unusable": _told(error), "where": _where(error)})
        return control.recv(MAX_PACKET)
    _send(control, {"ready": os.getpid()})
    runner = _Runner()
    try:
        while packet := control.recv(MAX_PACKET):
            order = json.loads(packet)
            if "seed" in order:
                return packet
            _send(control, _perform(cache, order["f"], order["args"], runner))
    finally:
        runner.close()
    return b""


_files: set[str] = set()


def _left_over() -> str | None:
    """What is left of an earlier run, in words; None if nothing is.  The first call notes what is normal."""
    files = set(os.listdir("/proc/self/fd"))
    if not _files:
        _files.update(files)
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        return f"{threads - 1} threads"
    return f"{len(files - _files)} open files" if files - _files else None


def _perform(cache: Any, f: str, args: list[Any], runner: "_Runner") -> dict[str, Any]:
    try:
        method = getattr(cache, f, None)
        if not callable(method):
            return {"wrong": _lacking(cache, f, method)}
        value = method(*map(_argument, args))
        if inspect.isawaitable(value):
            value = runner.run(value)
    except _ENDS:
        raise
    except BaseException as error:
        return {"error": _told(error)}
    try:
        return {"value": as_recorded(f, value)}
    except Unrecordable as error:
        return {"wrong": _strange(f, value, error)}


def _argument(item: Any) -> Any:
    """An argument as the method is given it: a list of keys, or of pairs, each of which is a tuple."""
    return [tuple(one) if isinstance(one, list) else one for one in item] if isinstance(item, list) else item


def _strange(f: str, value: Any, error: Unrecordable) -> str:
    if isinstance(value, (bytes, bytearray)):
        todo = "decode what the server sends (redis.Redis.from_url(…, decode_responses=True))"
    elif inspect.iscoroutine(value):
        value.close()
        todo = f"await it inside {f}"
    else:
        todo = error.todo
    kind = type(value).__name__
    return f"{f} returned {_shown(value)} of type {kind}; {error.expected}: {todo}"


def _lacking(cache: Any, f: str, found: Any) -> str:
    takes = "".join(f", {name}" for name in kind_of(f).takes.split(", ") if name)
    what = "has no such method" if found is None else f"has {_shown(found)} in its place"
    return f"{f} is needed, and {type(cache).__name__} {what}; define {f}(self{takes})"


def _shown(value: Any) -> str:
    try:
        return f"{value!r:.80}"
    except Exception as error:
        return f"something whose repr raises {type(error).__name__},"


def _told(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())
    except Exception as second:
        text = f"(its text cannot be had: {type(second).__name__})"
    return f"{type(error).__name__}: {text}"[:2000] if text else type(error).__name__


def _where(error: BaseException) -> str:
    """The line that raised it."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.filename}:{frame.lineno} in {frame.name}"


def _send(control: socket.socket, data: dict[str, Any]) -> None:
    around = {"around": _around} if _around else {}
    packet = json.dumps(data | around).encode()
    if len(packet) > MAX_PACKET:
        size = (
            f"a value of {len(packet)} bytes was returned; the limit is {MAX_PACKET}: test with smaller ones"
        )
        packet = json.dumps({"wrong": size} | around).encode()
    control.send(packet)


class _Runner:
    """An event loop that is made when the first coroutine needs one, and then kept."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None

    def run(self, awaitable: Any) -> Any:
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(_await(awaitable))

    def close(self) -> None:
        """End the loop of a run; what it cannot end in order goes with the process."""
        if self._runner is not None:
            with contextlib.suppress(Exception):
                self._runner.close()


async def _await(awaitable: Any) -> Any:
    return await awaitable
