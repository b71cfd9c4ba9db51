"""Moves: what a strategy can do next in a run, and which faults a condition allows.

A move is one decision, or a few that belong together: an operation is begun together with the delivery of
its first exchange (the latest possible invocation, hence the strictest real-time order), and a cache that is
killed is started again at once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from cacheproof.harness.execution import Execution
from cacheproof.harness.locks import held_lock
from cacheproof.models.contract import Condition
from cacheproof.models.decision import (
    Advance,
    Arrive,
    Crash,
    Decision,
    Deliver,
    Evict,
    Expire,
    Failover,
    Fate,
    Flush,
    Flushed,
    Freeze,
    Heal,
    Invoke,
    Kill,
    Lag,
    Manner,
    Partition,
    Pause,
    Replicate,
    Restart,
    Resume,
    ServerName,
    Skew,
    Start,
    Survived,
    Thaw,
)
from cacheproof.models.refusal import REFUSALS
from cacheproof.models.schedule import Keeps
from cacheproof.models.workload import READ_AND_WRITE, kind_of

__all__ = [
    "KEEPS",
    "KILLING",
    "Move",
    "begin",
    "begins",
    "begun_badly",
    "deliveries",
    "faults",
    "is_free",
    "is_sensible",
    "mending",
    "take",
    "wakes",
]

Move = tuple[Decision, ...]
"""Decisions that are taken in a row; those that turn out not to be enabled are left out."""


def take(execution: Execution, move: Move) -> None:
    """Take the decisions of a move that are enabled when their turn comes."""
    for decision in move:
        if execution.is_enabled(decision):
            execution.take(decision)


def is_free(execution: Execution, client: int) -> bool:
    """True if an operation can begin on the client."""
    return execution.is_enabled(Invoke(client, "read", execution.scenario.keys[0]))


def begin(execution: Execution, client: int, f: str, key: str | None) -> Move:
    """Begin an operation and deliver its first exchange."""
    return (Invoke(client, f, key), Deliver(client))


def begins(execution: Execution, client: int, keys: Sequence[str]) -> list[Move]:
    """Every operation of the scenario that the client might begin: on each of these keys, then those on none."""
    operations = [f for f in execution.scenario.operations if is_sensible(execution, client, f)]
    held = held_lock(execution.recorder.events, client) if "release" in operations else None
    on_keys = [
        begin(execution, client, f, key)
        for key in keys
        for f in operations
        if kind_of(f).on_one_key and (f != "release" or key == held)
    ]
    return on_keys + [begin(execution, client, f, None) for f in operations if not kind_of(f).on_one_key]


def begun_badly(execution: Execution, condition: Condition, starts: Iterable[Move]) -> list[Move]:
    """The same beginnings, with a fault of the condition for the first exchange instead of its delivery.

    Not where clients only read and write: there a seed gives the schedules that it always gave, in which
    first exchanges are delivered.
    """
    if execution.scenario.operations == READ_AND_WRITE:
        return []
    fates = _FATES.get(condition, ())
    calls = [move[0] for move in starts if isinstance(move[0], Invoke)]
    return [(call, Deliver(call.client, 0, fate)) for call in calls for fate in fates]


def is_sensible(execution: Execution, client: int, f: str) -> bool:
    """False for the release of a lock that the client does not hold, and for a second lock while it holds one."""
    if f not in ("acquire", "release"):
        return True
    holds = held_lock(execution.recorder.events, client) is not None
    return holds == (f == "release")


def deliveries(execution: Execution) -> list[Move]:
    """One delivery for each pending exchange, in order of client."""
    clients = range(execution.scenario.processes)
    return [(Deliver(client, pick),) for client in clients for pick in range(len(execution.pending(client)))]


def faults(execution: Execution, condition: Condition) -> list[Move]:
    """The faults that the condition allows now, in a fixed order."""
    return [move for moves in _MOVES.get(condition, ()) for move in moves(execution)]


def mending(execution: Execution, condition: Condition) -> list[Move]:
    """What would end a fault that the condition has brought about, or a client's waiting for that.

    It costs nothing of a budget of faults.
    """
    if condition not in _LASTING:
        return []
    clients = range(execution.scenario.processes)
    ends: list[Decision] = [Arrive(client) for client in clients]
    ends += [Resume(client) for client in clients]
    ends += [Thaw(server) for server in ServerName]
    ends += [Heal(server) for server in ServerName]
    ends += [Replicate()]
    ends += _time_outs(execution)
    return [(decision,) for decision in ends if execution.is_enabled(decision)]


def wakes(execution: Execution) -> list[Move]:
    """Time passes until the first worker that sleeps goes on, if a client has done something since the last time.

    Where no worker sleeps (those that block on a queue do not), there is no such move.
    """
    scenario, taken = execution.scenario, execution.taken
    since = next((item for item in reversed(taken) if _stirs(item, scenario.clients)), None)
    if since is None or isinstance(since, Advance):
        return []
    asleep = [
        worker for worker in range(scenario.clients, scenario.processes) if not execution.pending(worker)
    ]
    ends = [wake for worker in asleep if (wake := execution.wake_ns_of(worker)) is not None]
    return [(Advance(max(min(ends) - execution.now_ns, 1) / 1e9),)] if ends else []


def _stirs(decision: Decision, clients: int) -> bool:
    """Whether it is a step of a client that is no worker, or time that passes."""
    return isinstance(decision, Advance) or (
        isinstance(decision, (Invoke, Deliver)) and decision.client < clients
    )


def _time_outs(execution: Execution) -> Iterator[Advance]:
    """Time passes until the first client gives up that a fault keeps something back from; for long, if none will."""
    clients = [client for client in range(execution.scenario.processes) if execution.is_held_back(client)]
    if not clients:
        return
    wakes = [wake for client in clients if (wake := execution.wake_ns_of(client)) is not None]
    if wakes:
        yield Advance(max(min(wakes) - execution.now_ns, 1) / 1e9)
    elif not isinstance(execution.taken[-1], Advance):
        yield from (Advance(seconds) for seconds in _PAUSES_S)


KEEPS: Mapping[Condition, Keeps] = {
    Condition.CACHE_RESTART: Keeps.SNAPSHOTS,
    Condition.POWER_LOSS: Keeps.EVERYSEC,
    Condition.FAILOVER: Keeps.REPLICA,
}
"""What the cache keeps besides its memory under a condition that is about that."""

KILLING: frozenset[Condition] = frozenset(
    {Condition.CACHE_CRASH, Condition.CACHE_RESTART, Condition.POWER_LOSS, Condition.DATABASE_CRASH}
)
"""The conditions that come about only by killing a server."""

_LASTING = frozenset(
    {Condition.APP_PAUSE, Condition.CACHE_DOWN, Condition.DELAYED_MESSAGES, Condition.PARTITION}
    | {Condition.REPLICA_LAG}
)
_FATES: Mapping[Condition, tuple[Fate, ...]] = {
    Condition.DELAYED_MESSAGES: (Fate.DELAYED,),
    Condition.LOST_MESSAGES: (Fate.REQUEST_LOST, Fate.REPLY_LOST),
}
"""What may become of an exchange under a condition that is about messages."""
_PAUSES_S = (100.0,)
_SKEWS_S = (3600.0, -3600.0)
_MOST_BEHIND = 2
_MANNERS = (Manner.REFUSE, Manner.SILENT, Manner.REPLIES)
"""Of a partition.  `requests` is for a client that waits for its reply the same as `silent`."""
_Moves = Callable[[Execution], Iterator[Move]]


def _expiries(execution: Execution) -> Iterator[Move]:
    if execution.world.cache_is_up():
        yield from ((Expire(key.decode()),) for key in execution.world.cache_clock.expirable)


def _pauses(execution: Execution) -> Iterator[Move]:
    if any(execution.operation(client) for client in range(execution.scenario.clients)):
        yield from ((Advance(seconds),) for seconds in _PAUSES_S)


def _crashes(execution: Execution) -> Iterator[Move]:
    for client in range(execution.scenario.processes):
        if execution.operation(client) and execution.pending(client):
            yield (Crash(client),)
        elif execution.is_down(client) and execution.scenario.is_worker(client):
            yield (Restart(client),)


def _can_kill(execution: Execution, server: ServerName) -> bool:
    """Whether a server may be killed now: once it has been used, and if it is not the user's."""
    return bool(execution.taken) and execution.is_enabled(Kill(server))


def _cache_crashes(execution: Execution) -> Iterator[Move]:
    if _can_kill(execution, ServerName.CACHE):
        yield (Kill(ServerName.CACHE), Start(ServerName.CACHE))


def _losses(execution: Execution) -> Iterator[Move]:
    for client in range(execution.scenario.processes):
        for pick in range(len(execution.pending(client))):
            yield from ((Deliver(client, pick, fate),) for fate in _FATES[Condition.LOST_MESSAGES])


def _evictions(execution: Execution) -> Iterator[Move]:
    if execution.world.cache_is_up():
        yield from ((Evict(key.decode()),) for key in execution.world.cache_clock.all_keys())


def _flushes(execution: Execution) -> Iterator[Move]:
    if execution.world.cache_is_up() and execution.taken:
        yield from ((Flush(what),) for what in Flushed)


def _busy(execution: Execution) -> list[int]:
    """The clients that are in the middle of something."""
    everybody = range(execution.scenario.processes)
    return [client for client in everybody if execution.operation(client) and execution.pending(client)]


def _client_pauses(execution: Execution) -> Iterator[Move]:
    yield from ((Pause(client),) for client in _busy(execution) if execution.is_enabled(Pause(client)))
    if any(execution.is_enabled(Resume(client)) for client in range(execution.scenario.processes)):
        yield from ((Advance(seconds),) for seconds in _PAUSES_S)


def _skews(execution: Execution) -> Iterator[Move]:
    yield from ((Skew(client, by_s),) for client in _busy(execution) for by_s in _SKEWS_S)


def _restarts(execution: Execution) -> Iterator[Move]:
    if _can_kill(execution, ServerName.CACHE):
        for behind in range(min(_MOST_BEHIND + 1, execution.states)):
            yield (Kill(ServerName.CACHE), Start(ServerName.CACHE, Survived.SNAPSHOT, behind))


def _power_losses(execution: Execution) -> Iterator[Move]:
    if _can_kill(execution, ServerName.CACHE):
        for behind in range(min(_MOST_BEHIND + 1, execution.states)):
            yield (Kill(ServerName.CACHE), Start(ServerName.CACHE, Survived.SYNCED, behind))


def _failovers(execution: Execution) -> Iterator[Move]:
    if execution.taken:
        moves = (Failover(behind) for behind in range(_MOST_BEHIND + 1))
        yield from ((move,) for move in moves if execution.is_enabled(move))


def _outages(execution: Execution) -> Iterator[Move]:
    cache = ServerName.CACHE
    ways: tuple[Decision, ...] = (Partition(cache), Partition(cache, None, Manner.SILENT), Freeze(cache))
    yield from ((way,) for way in ways if execution.taken and execution.is_enabled(way))


def _partitions(execution: Execution) -> Iterator[Move]:
    for client in _busy(execution):
        for server in ServerName:
            ways = (Partition(server, client, manner) for manner in _MANNERS)
            yield from ((way,) for way in ways if execution.is_enabled(way))


def _delays(execution: Execution) -> Iterator[Move]:
    for client in range(execution.scenario.processes):
        ways = (Deliver(client, pick, Fate.DELAYED) for pick in range(len(execution.pending(client))))
        yield from ((way,) for way in ways if execution.is_enabled(way))


def _refusals(execution: Execution) -> Iterator[Move]:
    for client in range(execution.scenario.processes):
        for pick in range(len(execution.pending(client))):
            ways = (Deliver(client, pick, Fate.REFUSED, error) for error in REFUSALS)
            yield from ((way,) for way in ways if execution.is_enabled(way))


def _database_crashes(execution: Execution) -> Iterator[Move]:
    if _can_kill(execution, ServerName.DATABASE):
        yield (Kill(ServerName.DATABASE), Start(ServerName.DATABASE))


def _lags(execution: Execution) -> Iterator[Move]:
    if execution.taken and execution.is_enabled(Lag()):
        yield (Lag(),)


_MOVES: Mapping[Condition, tuple[_Moves, ...]] = {
    Condition.EXPIRY: (_expiries, _pauses),
    Condition.EVICTION: (_evictions, _flushes),
    Condition.APP_CRASH: (_crashes,),
    Condition.APP_PAUSE: (_client_pauses,),
    Condition.CLOCK_SKEW: (_skews,),
    Condition.CACHE_CRASH: (_cache_crashes,),
    Condition.CACHE_RESTART: (_restarts,),
    Condition.CACHE_DOWN: (_outages,),
    Condition.POWER_LOSS: (_power_losses,),
    Condition.FAILOVER: (_failovers,),
    Condition.LOST_MESSAGES: (_losses,),
    Condition.DELAYED_MESSAGES: (_delays,),
    Condition.PARTITION: (_partitions,),
    Condition.SERVER_ERRORS: (_refusals,),
    Condition.DATABASE_CRASH: (_database_crashes,),
    Condition.REPLICA_LAG: (_lags,),
}
