"""Faults of servers: kill and start, freeze and thaw."""

from collections.abc import Iterator

from cacheproof.harness.parts import Parts
from cacheproof.models.decision import Decision, Freeze, Kill, ServerName, Start, Thaw

__all__ = [
    "can_freeze",
    "can_kill",
    "can_start",
    "can_thaw",
    "freeze",
    "kill",
    "mends",
    "start",
    "thaw",
]


def can_kill(parts: Parts, decision: Kill) -> bool:
    return decision.server is ServerName.CACHE and parts.situation.world.cache_is_up()


def kill(parts: Parts, decision: Kill) -> None:
    """The cache is gone, with all it held; every connection to it breaks, in client order."""
    here = parts.situation
    here.world.kill_cache()
    here.fault("kill", server=ServerName.CACHE)
    here.world.wire.thaw(ServerName.CACHE)  # what comes back is a new process, which nobody has stopped
    here.forget_server(ServerName.CACHE)
    for process in here.crew.alive():
        here.break_all(process.number, ServerName.CACHE)


def can_start(parts: Parts, decision: Start) -> bool:
    return decision.server is ServerName.CACHE and not parts.situation.world.cache_is_up()


def start(parts: Parts, decision: Start) -> None:
    parts.situation.world.start_cache()
    parts.situation.fault("start", server=ServerName.CACHE)


def can_freeze(parts: Parts, decision: Freeze) -> bool:
    world = parts.situation.world
    down = decision.server is ServerName.CACHE and not world.cache_is_up()
    return not down and not world.wire.is_frozen(decision.server)


def freeze(parts: Parts, decision: Freeze) -> None:
    """The server is stopped: what it is sent waits in its sockets."""
    parts.situation.fault("freeze", server=decision.server)
    parts.situation.world.wire.freeze(decision.server)


def can_thaw(parts: Parts, decision: Thaw) -> bool:
    return parts.situation.world.wire.is_frozen(decision.server)


def thaw(parts: Parts, decision: Thaw) -> None:
    """It goes on where it was, with what has come meanwhile, in that order: also from clients that have died."""
    here = parts.situation
    here.fault("thaw", server=decision.server)
    here.world.wire.thaw(decision.server)
    parts.exchanges.work_off(decision.server)
    for process in here.crew.alive():
        here.go_on(process.number, decision.server)


def mends(parts: Parts) -> Iterator[Decision]:
    """What the epilogue has to do so that both servers run."""
    world = parts.situation.world
    if not world.cache_is_up():
        yield Start(ServerName.CACHE)
    for server in ServerName:
        if world.wire.is_frozen(server):
            yield Thaw(server)
