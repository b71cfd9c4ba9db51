"""Faults of servers: kill and start, freeze and thaw, failover.

What survives a kill is what the cache keeps besides its memory (`Scenario.keeps`).  A kill is not power loss: what had
been written to the append-only file is in the hands of the kernel, and only power loss takes it away.

    keeps       a start brings back
    nothing     nothing
    replica     nothing: what has taken over is another matter (a failover)
    snapshots   the last snapshot, which may be as old as the cache (`snapshot`, so many writes behind)
    everysec    everything; after power loss what was synced, which lacks writes of the last second (`synced`)
    always      everything, after power loss as well
"""

from collections.abc import Iterator, Mapping

from cacheproof.harness.parts import Parts
from cacheproof.models.decision import Decision, Failover, Freeze, Kill, ServerName, Start, Survived, Thaw
from cacheproof.models.schedule import Keeps

__all__ = [
    "can_failover",
    "can_freeze",
    "can_kill",
    "can_start",
    "can_thaw",
    "failover",
    "freeze",
    "kill",
    "mends",
    "start",
    "thaw",
]


def _is_up(parts: Parts, server: ServerName) -> bool:
    world = parts.situation.world
    return world.cache_is_up() if server is ServerName.CACHE else world.database_is_up()


def can_kill(parts: Parts, decision: Kill) -> bool:
    return _is_up(parts, decision.server) and parts.situation.world.servers.features.control


def kill(parts: Parts, decision: Kill) -> None:
    """The server is gone; every connection to it breaks, in client order."""
    here, server = parts.situation, decision.server
    if server is ServerName.CACHE:
        here.killed_ns = here.now_ns
        here.world.kill_cache()
    else:
        here.world.kill_database()
    here.fault("kill", server=server)
    here.world.wire.thaw(server)  # what comes back is a new process, which nobody has stopped
    here.forget_server(server)
    for process in here.crew.alive():
        here.break_all(process.number, server)


_SYNC_EVERY_S = 1.0
_BY_ITSELF: Mapping[Keeps, Survived] = {
    Keeps.NOTHING: Survived.NOTHING,
    Keeps.REPLICA: Survived.NOTHING,
    Keeps.SNAPSHOTS: Survived.SNAPSHOT,
    Keeps.EVERYSEC: Survived.EVERYTHING,
    Keeps.ALWAYS: Survived.EVERYTHING,
}
"""What survives where the decision does not say."""


def _survived(parts: Parts, decision: Start) -> Survived:
    return decision.survived or _BY_ITSELF[parts.situation.scenario.keeps]


def can_start(parts: Parts, decision: Start) -> bool:
    if _is_up(parts, decision.server):
        return False
    if decision.server is ServerName.DATABASE:
        return decision.survived is None and decision.behind == 0
    return _may_survive(parts, decision)


def _may_survive(parts: Parts, decision: Start) -> bool:
    """Whether what the cache keeps allows that so much is still there."""
    here, behind = parts.situation, decision.behind
    keeps = here.scenario.keeps
    if behind >= len(here.images) > 0:
        return False
    match _survived(parts, decision):
        case Survived.NOTHING:
            return behind == 0 and keeps in (Keeps.NOTHING, Keeps.REPLICA)
        case Survived.EVERYTHING:
            return behind == 0 and keeps in (Keeps.ALWAYS, Keeps.EVERYSEC)
        case Survived.SNAPSHOT:
            return keeps is Keeps.SNAPSHOTS
        case Survived.SYNCED:
            if keeps is Keeps.ALWAYS:
                return behind == 0
            # The file was forced to the disk at some time in the last second: what is older is safe.
            lost = here.images[len(here.images) - behind :]
            recent_ns = here.killed_ns - round(_SYNC_EVERY_S * 1e9)
            return keeps is Keeps.EVERYSEC and all(image.at_ns > recent_ns for image in lost)


def start(parts: Parts, decision: Start) -> None:
    """The server is there again, at the same address, with what survived."""
    here = parts.situation
    if decision.server is ServerName.DATABASE:
        here.world.start_database()
        here.fault("start", server=decision.server)
        here.record_commits(None)
        return
    here.world.start_cache()
    survived = _survived(parts, decision)
    if survived is Survived.NOTHING:
        here.images.clear()
    else:
        here.go_back(decision.behind)
    here.fault("start", server=ServerName.CACHE, detail=_words(survived, decision.behind))
    here.keep_image()


def _words(survived: Survived, behind: int) -> str | None:
    """What survived, in words of a history; nothing goes without saying."""
    if survived is Survived.NOTHING:
        return None
    lacks = f", {behind} write{'' if behind == 1 else 's'} behind" if behind else ""
    return f"{survived.value}{lacks}"


def can_failover(parts: Parts, decision: Failover) -> bool:
    here = parts.situation
    with_replica = here.scenario.keeps is Keeps.REPLICA and here.world.cache_is_up()
    return with_replica and decision.behind < len(here.images)


def failover(parts: Parts, decision: Failover) -> None:
    """The replica takes the address over: it knows no scripts and no connections, and lacks the last writes.

    Functions are data, so it has those that had been sent to it.
    """
    here = parts.situation
    here.world.wire.thaw(ServerName.CACHE)  # whoever takes over is not the one that was stopped
    admin = here.world.cache_clock.admin
    admin.call("FLUSHALL")
    admin.call("SCRIPT", "FLUSH")
    here.world.cache_clock.forget_all()
    here.go_back(decision.behind)
    here.keep_image()
    here.fault("failover", server=ServerName.CACHE, detail=decision.behind)
    here.forget_server(ServerName.CACHE)
    for process in here.crew.alive():
        here.break_all(process.number, ServerName.CACHE)


def can_freeze(parts: Parts, decision: Freeze) -> bool:
    frozen = parts.situation.world.wire.is_frozen(decision.server)
    return _is_up(parts, decision.server) and not frozen


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
    parts.time.catch_up()
    parts.exchanges.overhear()


def mends(parts: Parts) -> Iterator[Decision]:
    """What the epilogue has to do so that both servers run."""
    for server in ServerName:
        if not _is_up(parts, server):
            yield Start(server)
        if parts.situation.world.wire.is_frozen(server):
            yield Thaw(server)
