"""Inside a client process: one instance of the cache under test, one operation at a time.

Forked from the zygote, where time and chance are already patched.  It holds a control line to the director
and nothing else of the harness.  One packet is one JSON object:

    director → client   {"seed": n}: a run begins; forget the last one, construct the cache anew
                        {"f": "read", "args": ["user:1"]}
    client → director   {"ready": pid} when the cache has been constructed, {"unusable": why} if it raised,
                        {"tired": why} if something of the last run is left, so that a new process is needed
                        {"value": …}, {"error": why} or {"wrong": why} for each operation

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

from cacheproof.chaos import chance, virtualtime
from cacheproof.harness.environment import Environment

__all__ = ["MAX_PACKET", "MakeCache", "client_main"]

MAX_PACKET = 1 << 17
MakeCache = Callable[[Environment], Any]
_SCALARS = (str, int, float, bool, type(None))


def client_main(
    make_cache: MakeCache, environment: Environment, control: socket.socket, registrar: socket.socket
) -> NoReturn:
    """Serve the director until it closes the control line; never returns."""
    code = 1
    try:
        virtualtime.attach(registrar)
        _serve(make_cache, environment, control)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _serve(make_cache: MakeCache, environment: Environment, control: socket.socket) -> None:
    packet = control.recv(MAX_PACKET)
    while packet:
        packet = _serve_run(make_cache, environment, control, json.loads(packet)["seed"])
        gc.collect()


def _serve_run(make_cache: MakeCache, environment: Environment, control: socket.socket, seed: int) -> bytes:
    """Serve one run; returns the packet that begins the next one, or nothing."""
    if left := _left_over():
        _send(control, {"tired": left})
        return b""
    chance.seed(seed)
    try:
        cache = make_cache(environment)
    except Exception as error:
        _send(control, {"unusable": _told(error)})
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
        value = getattr(cache, f)(*args)
        if inspect.isawaitable(value):
            value = runner.run(value)
    except Exception as error:
        return {"error": _told(error)}
    if f in ("read", "increment") and not isinstance(value, _SCALARS):
        return {"wrong": f"{f} returned {value!r:.80} of type {type(value).__name__}"}
    return {"value": value if f in ("read", "increment") else None}


def _told(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:2000]


def _send(control: socket.socket, data: dict[str, Any]) -> None:
    packet = json.dumps(data).encode()
    if len(packet) > MAX_PACKET:
        packet = json.dumps({"wrong": f"a value of {len(packet)} bytes; the limit is {MAX_PACKET}"}).encode()
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
