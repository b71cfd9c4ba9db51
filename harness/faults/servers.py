"""Faults of servers: kill and start."""

from cacheproof.harness.parts import Parts
from cacheproof.models.decision import Kill, ServerName, Start

__all__ = ["can_kill", "can_start", "kill", "start"]


def can_kill(parts: Parts, decision: Kill) -> bool:
    return decision.server is ServerName.CACHE and parts.situation.world.cache_is_up()


def kill(parts: Parts, decision: Kill) -> None:
    """The cache is gone, with all it held; every connection to it breaks, in client order."""
    here = parts.situation
    here.world.kill_cache()
    here.fault("kill", server=ServerName.CACHE)
    here.fates = {name: fate for name, fate in here.fates.items() if name not in here.due_ns}
    here.due_ns.clear()
    for process in here.crew.alive():
        links = [link for link in here.world.wire.links(process.number) if link.server is ServerName.CACHE]
        for link in links:
            here.world.wire.reset(link)
        if links:
            here.settle(process)


def can_start(parts: Parts, decision: Start) -> bool:
    return decision.server is ServerName.CACHE and not parts.situation.world.cache_is_up()


def start(parts: Parts, decision: Start) -> None:
    parts.situation.world.start_cache()
    parts.situation.fault("start", server=ServerName.CACHE)
