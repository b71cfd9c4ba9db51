"""Faults of what the cache holds: expiry."""

from cacheproof.harness.parts import Parts
from cacheproof.models.decision import Expire

__all__ = ["can_expire", "expire"]


def can_expire(parts: Parts, decision: Expire) -> bool:
    world = parts.situation.world
    return world.cache_is_up() and decision.key.encode() in world.cache_clock.expirable


def expire(parts: Parts, decision: Expire) -> None:
    parts.situation.world.cache_clock.expire(decision.key.encode())
    parts.situation.fault("expire", detail=decision.key)
    parts.exchanges.overhear()
