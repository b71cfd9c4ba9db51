"""Faults of what the cache holds: expiry, eviction, flushes."""

from cacheproof.harness.parts import Parts
from cacheproof.models.decision import Evict, Expire, Flush, Flushed, ServerName

__all__ = ["can_evict", "can_expire", "can_flush", "evict", "expire", "flush"]


def can_expire(parts: Parts, decision: Expire) -> bool:
    world = parts.situation.world
    return world.cache_is_up() and decision.key.encode() in world.cache_clock.expirable


def expire(parts: Parts, decision: Expire) -> None:
    parts.situation.world.cache_clock.expire(decision.key.encode())
    parts.situation.fault("expire", detail=decision.key)
    parts.situation.keep_image()
    parts.exchanges.overhear()


def can_evict(parts: Parts, decision: Evict) -> bool:
    here = parts.situation
    if not here.world.cache_is_up() or here.scenario.policy == "noeviction":
        return False
    clock, key = here.world.cache_clock, decision.key.encode()
    if here.scenario.policy.startswith("volatile-"):
        return key in clock.expirable
    return key in clock.all_keys()


def evict(parts: Parts, decision: Evict) -> None:
    """The policy has chosen this key."""
    parts.situation.world.cache_clock.evict(decision.key.encode())
    parts.situation.fault("evict", detail=decision.key)
    parts.situation.keep_image()
    parts.exchanges.overhear()


def can_flush(parts: Parts, decision: Flush) -> bool:
    return parts.situation.world.cache_is_up()


def flush(parts: Parts, decision: Flush) -> None:
    """Somebody empties the cache, or the memory that it has of scripts."""
    clock = parts.situation.world.cache_clock
    if decision.what is Flushed.KEYS:
        clock.admin.call("FLUSHALL")
        clock.forget_all()
    else:
        clock.admin.call("SCRIPT", "FLUSH")
    parts.situation.fault("flush", server=ServerName.CACHE, detail=decision.what.value)
    parts.situation.keep_image()
    parts.exchanges.overhear()
