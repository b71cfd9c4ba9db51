"""Faults of the network: partitions, and requests that arrive late.

A partition does not lose what is sent, it keeps it back, as TCP does: once the network works again it arrives.
Only the manner `refuse` breaks connections.
"""

from collections.abc import Iterator

from cacheproof.chaos.wire.link import Pending
from cacheproof.harness.parts import Parts
from cacheproof.models.decision import Arrive, Decision, Heal, Manner, Partition, ServerName

__all__ = ["arrive", "can_arrive", "can_heal", "can_partition", "heal", "mends", "partition"]


def _concerned(parts: Parts, decision: Partition | Heal) -> list[int]:
    everybody = range(parts.situation.scenario.processes)
    return [number for number in everybody if decision.client in (None, number)]


def can_partition(parts: Parts, decision: Partition) -> bool:
    wire, concerned = parts.situation.world.wire, _concerned(parts, decision)
    return bool(concerned) and not any(wire.is_cut(number, decision.server) for number in concerned)


def partition(parts: Parts, decision: Partition) -> None:
    """From now on nothing passes, or nothing in one direction; where connections break, they do so now."""
    here = parts.situation
    here.fault("partition", process=decision.client, server=decision.server, detail=decision.manner.value)
    concerned = _concerned(parts, decision)
    for number in concerned:
        here.world.wire.cut(number, decision.server, decision.manner)
    if decision.manner is Manner.REFUSE:
        for number in concerned:
            here.break_all(number, decision.server)


def can_heal(parts: Parts, decision: Heal) -> bool:
    wire, concerned = parts.situation.world.wire, _concerned(parts, decision)
    return any(wire.is_cut(number, decision.server) for number in concerned)


def heal(parts: Parts, decision: Heal) -> None:
    """What was kept back arrives, in client order."""
    here = parts.situation
    here.fault("heal", process=decision.client, server=decision.server)
    concerned = [n for n in _concerned(parts, decision) if here.world.wire.is_cut(n, decision.server)]
    for number in concerned:
        here.world.wire.mend(number, decision.server)
    for number in concerned:
        parts.exchanges.hand_on_withheld(number, decision.server)
        here.go_on(number, decision.server)
    parts.exchanges.overhear()


def can_arrive(parts: Parts, decision: Arrive) -> bool:
    return decision.pick < len(_late(parts, decision.client))


def arrive(parts: Parts, decision: Arrive) -> None:
    """The request takes effect, long after its client has given it up."""
    here = parts.situation
    pending = _late(parts, decision.client)[decision.pick]
    here.delayed = [item for item in here.delayed if item is not pending]
    here.fault("arrive", process=decision.client, server=pending.link.server, detail=pending.verb)
    parts.exchanges.arrive(pending)


def _late(parts: Parts, client: int) -> list[Pending]:
    here = parts.situation
    return [
        item
        for item in here.delayed
        if item.link.process == client and not here.world.wire.is_frozen(item.link.server)
    ]


def mends(parts: Parts) -> Iterator[Decision]:
    """What the epilogue has to do so that the network works and nothing is under way any more."""
    here = parts.situation
    for server in ServerName:
        cut = sorted(number for number, name in here.world.wire.cuts() if name is server)
        if len(cut) == here.scenario.processes > 1:
            yield Heal(server)
        else:
            yield from (Heal(server, number) for number in cut)
    while here.delayed:
        yield Arrive(here.delayed[0].link.process)
