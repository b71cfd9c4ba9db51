"""Inside a client process: one instance of the cache under test, one operation at a time.

Forked from the zygote, where time and chance are already patched.  It holds a control line to the director
and nothing else of the harness.  One packet is one JSON object:

    director → client   {"f": "read", "args": ["user:1"]}
    client → director   {"ready": pid} once, when the cache has been constructed, or {"unusable": why}
                        {"value": …}, {"error": why} or {"wrong": why} for each operation
"""

import asyncio
import inspect
import json
import os
import socket
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from cacheproof.chaos import chance, virtualtime
from cacheproof.harness.environment import Environment

__all__ = ["MAX_PACKET", "client_main"]

MAX_PACKET = 1 << 17
_SCALARS = (str, int, float, bool, type(None))


def client_main(
    make_cache: Callable[[Environment], Any],
    environment: Environment,
    control: socket.socket,
    registrar: socket.socket,
    seed: int,
) -> NoReturn:
    """Serve the director until it closes the control line; never returns."""
    code = 1
    try:
        virtualtime.attach(registrar)
        chance.seed(seed)
        _serve(make_cache, environment, control)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _serve(make_cache: Callable[[Environment], Any], environment: Environment, control: socket.socket) -> None:
    runner = _Runner()
    try:
        cache = make_cache(environment)
    except Exception as error:
        _send(control, {"unusable": _told(error), "pid": os.getpid()})
        return
    _send(control, {"ready": os.getpid()})
    while packet := control.recv(MAX_PACKET):
        order = json.loads(packet)
        _send(control, _perform(cache, order["f"], order["args"], runner))


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
    return f"{type(error).__name__}: {text}"[:500]


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


async def _await(awaitable: Any) -> Any:
    return await awaitable

