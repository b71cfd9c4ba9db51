"""Faults as actions: what a decision that breaks or mends something does to a run, and when it can be taken.

Each fault is two functions: whether it can happen now, and what happens.  actions.py has the table of all
decisions.
"""

from cacheproof.harness.parts import Parts
from cacheproof.models.decision import Crash, Expire, Kill, Restart, ServerName, Start
from cacheproof.models.operation import Outcome

__all__ = [
    "can_crash",
    "can_expire",
    "can_kill",
    "can_restart",
    "can_start",
    "crash",
    "expire",
    "kill",
    "restart",
    "start",
]

# -- clients ---------------------------------------------------------------------------------------------------


def can_crash(parts: Parts, decision: Crash) -> bool:
    return parts.situation.crew.get(decision.client) is not None


def crash(parts: Parts, decision: Crash) -> None:
    """SIGKILL; over when the servers have let go of the client's transactions and locks."""
    here = parts.situation
    process = here.crew.get(decision.client)
    assert process is not None
    here.fault("crash", process=decision.client)
    if process.operation is not None:
        here.returned(process, Outcome.INFO, process.operation.value, "the client crashed")
    here.bury(process, decision.in_flight)
    parts.exchanges.resolve_waiting()


def can_restart(parts: Parts, decision: Restart) -> bool:
    return parts.situation.is_down(decision.client)


def restart(parts: Parts, decision: Restart) -> None:
    parts.operations.restart(decision.client)


# -- servers ---------------------------------------------------------------------------------------------------


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


# -- keys ------------------------------------------------------------------------------------------------------


def can_expire(parts: Parts, decision: Expire) -> bool:
    world = parts.situation.world
    return world.cache_is_up() and decision.key.encode() in world.cache_clock.expirable


def expire(parts: Parts, decision: Expire) -> None:
    parts.situation.world.cache_clock.expire(decision.key.encode())
    parts.situation.fault("expire", detail=decision.key)
    parts.exchanges.overhear()
