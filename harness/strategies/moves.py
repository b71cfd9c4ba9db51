"""Moves: what a strategy can do next in a run, and which faults a condition allows.

A move is one decision, or a few that belong together: an operation is begun together with the delivery of
its first exchange (the latest possible invocation, hence the strictest real-time order), and a cache that is
killed is started again at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from cacheproof.harness.execution import Execution
from cacheproof.models.contract import Condition
from cacheproof.models.decision import (
    Advance,
    Crash,
    Decision,
    Deliver,
    Expire,
    Fate,
    Invoke,
    Kill,
    Restart,
    ServerName,
    Start,
)

__all__ = ["Move", "begin", "deliveries", "faults", "take"]

Move = tuple[Decision, ...]
"""Decisions that are taken in a row; those that turn out not to be enabled are left out."""

_PAUSES_S = (100.0,)


@dataclass(frozen=True, slots=True)
class _Allowed:
    expire: bool = False
    crash: bool = False
    kill: bool = False
    lose: bool = False


_ALLOWED = {
    Condition.QUIET: _Allowed(),
    Condition.CONCURRENT: _Allowed(),
    Condition.EXPIRY: _Allowed(expire=True),
    Condition.APP_CRASH: _Allowed(crash=True),
    Condition.CACHE_CRASH: _Allowed(kill=True),
    Condition.LOST_MESSAGES: _Allowed(lose=True),
}


def take(execution: Execution, move: Move) -> None:
    """Take the decisions of a move that are enabled when their turn comes."""
    for decision in move:
        if execution.is_enabled(decision):
            execution.take(decision)


def begin(execution: Execution, client: int, f: str, key: str | None) -> Move:
    """Begin an operation and deliver its first exchange."""
    return (Invoke(client, f, key), Deliver(client))


def deliveries(execution: Execution) -> list[Move]:
    """One delivery for each pending exchange, in order of client."""
    clients = range(execution.scenario.processes)
    return [(Deliver(client, pick),) for client in clients for pick in range(len(execution.pending(client)))]


def faults(execution: Execution, condition: Condition) -> list[Move]:
    """The faults that the condition allows now, in a fixed order."""
    return list(_faults(execution, _ALLOWED[condition]))


def _faults(execution: Execution, allowed: _Allowed) -> Iterator[Move]:
    processes = range(execution.scenario.processes)
    if allowed.expire:
        if execution.world.cache_is_up():
            yield from ((Expire(key.decode()),) for key in execution.world.cache_clock.expirable)
        if any(execution.operation(client) for client in range(execution.scenario.clients)):
            yield from ((Advance(seconds),) for seconds in _PAUSES_S)
    if allowed.crash:
        for client in processes:
            if execution.operation(client) and execution.pending(client):
                yield (Crash(client),)
            elif execution.is_down(client) and execution.scenario.is_worker(client):
                yield (Restart(client),)
    if allowed.kill and execution.world.cache_is_up() and execution.taken:
        yield (Kill(ServerName.CACHE), Start(ServerName.CACHE))
    if allowed.lose:
        for client in processes:
            for pick in range(len(execution.pending(client))):
                yield (Deliver(client, pick, Fate.REQUEST_LOST),)
                yield (Deliver(client, pick, Fate.REPLY_LOST),)
