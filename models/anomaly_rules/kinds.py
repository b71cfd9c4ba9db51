"""The kinds of findings: what each is called where no rule fits, and which rules are tried on it.

    value    a read, a write or the end of a run shows a value that it should not
    count    a counter is not the sum of its increments
    load     the database was asked too often
    lock     more than one was where one should be
    wait     an operation failed, took too long, or never returned
    none     the finding says all there is to say

A kind that is not in the table, of a property of somebody's own making, is taken for one about values.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["KINDS", "UNKNOWN_KIND", "About", "Kind"]


class About(StrEnum):
    """What a finding is about."""

    VALUE = "value"
    COUNT = "count"
    LOAD = "load"
    LOCK = "lock"
    WAIT = "wait"
    NONE = "none"


class Kind(NamedTuple):
    """`general` is the slug of the entry that names the kind, where no rule fits."""

    general: str
    about: About


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "aborted": Kind("dirty-read", About.VALUE),
        "arbitration-cycle": Kind("causality-violation", About.VALUE),
        "causality-cycle": Kind("causality-violation", About.VALUE),
        "causality-violation": Kind("causality-violation", About.VALUE),
        "divergence": Kind("divergence", About.VALUE),
        "double-applied": Kind("double-applied", About.COUNT),
        "fabricated": Kind("fabricated-value", About.VALUE),
        "fence-not-increasing": Kind("fence-not-increasing", About.NONE),
        "flush-reorder": Kind("flush-reorder", About.VALUE),
        "foreign": Kind("fabricated-value", About.VALUE),
        "fractured-read": Kind("fractured-read", About.VALUE),
        "hangs": Kind("hangs", About.WAIT),
        "impossible-sum": Kind("impossible-sum", About.COUNT),
        "initial-after-write": Kind("causality-violation", About.VALUE),
        "late-invalidation": Kind("late-invalidation", About.VALUE),
        "lost-increment": Kind("lost-increment", About.COUNT),
        "lost-write": Kind("lost-write", About.VALUE),
        "non-linearizable": Kind("non-linearizable", About.VALUE),
        "non-monotonic-read": Kind("non-monotonic-read", About.VALUE),
        "non-monotonic-write": Kind("non-monotonic-write", About.VALUE),
        "non-sequential": Kind("non-sequential", About.VALUE),
        "orphan-lock": Kind("orphan-lock", About.NONE),
        "premature": Kind("fabricated-value", About.VALUE),
        "read-your-writes": Kind("read-your-writes-violation", About.VALUE),
        "resurrected": Kind("resurrected-delete", About.VALUE),
        "slow": Kind("slow", About.WAIT),
        "stale-causal-read": Kind("causality-violation", About.VALUE),
        "stale-read": Kind("stale-read", About.VALUE),
        "staleness-beyond-bound": Kind("staleness-beyond-bound", About.VALUE),
        "stampede": Kind("stampede", About.LOAD),
        "too-many-round-trips": Kind("too-many-round-trips", About.NONE),
        "two-holders": Kind("two-lock-holders", About.LOCK),
        "unavailable": Kind("cache-outage", About.WAIT),
        "uncommitted": Kind("dirty-read", About.VALUE),
        "unheard-event": Kind("late-invalidation", About.VALUE),
        "unheard-write": Kind("lost-invalidation", About.VALUE),
        "versions-behind": Kind("versions-behind", About.VALUE),
        "view-cycle": Kind("causality-violation", About.VALUE),
        "warm-up-writes": Kind("shadow-side-effects", About.NONE),
        "write-before-read": Kind("write-before-read", About.VALUE),
    }
)
"""Every kind of finding that the properties of this package make."""

UNKNOWN_KIND = Kind("non-linearizable", About.VALUE)
