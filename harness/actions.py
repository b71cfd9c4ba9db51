"""The table of decisions: for each kind, whether it can be taken now, and what it does."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cacheproof.chaos.wire.link import Pending
from cacheproof.harness.faults import clients, keys, network, replica, servers
from cacheproof.harness.parts import Parts
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
    Freeze,
    Heal,
    Invoke,
    Kill,
    Lag,
    Partition,
    Pause,
    Replicate,
    Restart,
    Resume,
    Skew,
    Start,
    Thaw,
)
from cacheproof.models.refusal import REFUSALS
from cacheproof.models.workload import kind_of

__all__ = ["ACTIONS", "Action", "mends"]


@dataclass(frozen=True, slots=True)
class Action:
    """What a kind of decision means.  Both functions take the parts of the run and the decision."""

    is_enabled: Callable[[Parts, Any], bool]
    perform: Callable[[Parts, Any], None]


def _can_invoke(parts: Parts, decision: Invoke) -> bool:
    here = parts.situation
    needs_key = kind_of(decision.f).on_one_key
    known = decision.key in here.scenario.keys if needs_key else decision.key is None
    free = decision.client < here.scenario.processes and not here.is_down(decision.client)
    return free and known and here.operation(decision.client) is None and here.can_run(decision.client)


def _invoke(parts: Parts, decision: Invoke) -> None:
    parts.operations.invoke(decision)


def _can_deliver(parts: Parts, decision: Deliver) -> bool:
    pending = parts.situation.pending(decision.client)
    if decision.pick >= len(pending):
        return False
    chosen = pending[decision.pick]
    match decision.fate:
        case Fate.DELIVERED:
            return True
        case Fate.REFUSED:
            frozen = parts.situation.world.wire.is_frozen(chosen.link.server)
            return not frozen and _can_refuse(chosen, decision.error)
        case Fate.DELAYED if chosen.blocks_s is not None:
            return False  # whoever waits for an event does nothing if it comes too late
    return not chosen.link.mute  # what a client is told of a loss comes from where nothing comes from now


def _can_refuse(pending: Pending, error: str | None) -> bool:
    refusal = REFUSALS.get(error or "")
    return (
        refusal is not None
        and refusal.server is pending.link.server
        and pending.link.can_refuse(pending, refusal)
    )


def _deliver(parts: Parts, decision: Deliver) -> None:
    chosen = parts.situation.pending(decision.client)[decision.pick]
    refusal = REFUSALS[decision.error or ""] if decision.fate is Fate.REFUSED else None
    parts.exchanges.release(chosen, decision.fate, refusal)


def _can_advance(parts: Parts, decision: Advance) -> bool:
    return decision.seconds > 0


def _advance(parts: Parts, decision: Advance) -> None:
    parts.time.advance(parts.situation.now_ns + round(decision.seconds * 1e9), decision.seconds)


ACTIONS: Mapping[type[Any], Action] = {
    Advance: Action(_can_advance, _advance),
    Arrive: Action(network.can_arrive, network.arrive),
    Crash: Action(clients.can_crash, clients.crash),
    Deliver: Action(_can_deliver, _deliver),
    Evict: Action(keys.can_evict, keys.evict),
    Expire: Action(keys.can_expire, keys.expire),
    Failover: Action(servers.can_failover, servers.failover),
    Flush: Action(keys.can_flush, keys.flush),
    Freeze: Action(servers.can_freeze, servers.freeze),
    Heal: Action(network.can_heal, network.heal),
    Invoke: Action(_can_invoke, _invoke),
    Kill: Action(servers.can_kill, servers.kill),
    Lag: Action(replica.can_lag, replica.lag),
    Partition: Action(network.can_partition, network.partition),
    Pause: Action(clients.can_pause, clients.pause),
    Replicate: Action(replica.can_replicate, replica.replicate),
    Restart: Action(clients.can_restart, clients.restart),
    Resume: Action(clients.can_resume, clients.resume),
    Skew: Action(clients.can_skew, clients.skew),
    Start: Action(servers.can_start, servers.start),
    Thaw: Action(servers.can_thaw, servers.thaw),
}


def mends(parts: Parts) -> Iterator[Decision]:
    """What the epilogue does first, in order: servers run, the network works, nothing is under way any more, no
    replica lags, every client goes on.

    Each is asked for when its turn comes: what one of them sets going may be of interest to the next.
    """
    for source in (servers.mends, network.mends, replica.mends, clients.mends):
        yield from source(parts)
