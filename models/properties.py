"""The table of properties, by name, so that one can be written down and read back as data.

    Convergence(within_s=300)       {"name": "convergence", "within_s": 300}

Parameters are numbers, true, false, texts or null, each of the type that the property declares.  One that has
a value by default may be left out: what was written down before a property learned to ask for more still
means what it meant.
"""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from types import NoneType
from typing import Any, get_args

from cacheproof.models.atomic_reads import AtomicReads
from cacheproof.models.availability import Availability
from cacheproof.models.causal import Causal, CausalConvergence, CausalMemory
from cacheproof.models.convergence import Convergence
from cacheproof.models.counters import ExactlyOnce
from cacheproof.models.delta_atomicity import DeltaAtomicity
from cacheproof.models.durability import Durability
from cacheproof.models.errors import UsageError
from cacheproof.models.flush_order import FlushOrder
from cacheproof.models.general import LinearizableAs
from cacheproof.models.integrity import Integrity
from cacheproof.models.invalidation import Invalidation
from cacheproof.models.liveness import Liveness
from cacheproof.models.mutual_exclusion import MutualExclusion
from cacheproof.models.quiet_warm_up import QuietWarmUp
from cacheproof.models.reaches_cache import ReachesCache
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.round_trips import RoundTrips
from cacheproof.models.sequential import Sequential
from cacheproof.models.sessions import MonotonicReads, MonotonicWrites, ReadYourWrites, WritesFollowReads
from cacheproof.models.single_flight import SingleFlight
from cacheproof.models.staleness import BoundedStaleness
from cacheproof.models.verdict import Property
from cacheproof.models.version_staleness import StalenessInVersions
from cacheproof.models.zones import Linearizable

__all__ = ["PROPERTIES", "property_from_dict", "property_to_dict"]

PROPERTIES: Mapping[str, Any] = {
    "atomic-reads": AtomicReads,
    "availability": Availability,
    "bounded-staleness": BoundedStaleness,
    "causal": Causal,
    "causal-convergence": CausalConvergence,
    "causal-memory": CausalMemory,
    "convergence": Convergence,
    "delta-atomicity": DeltaAtomicity,
    "durability": Durability,
    "exactly-once": ExactlyOnce,
    "flush-order": FlushOrder,
    "integrity": Integrity,
    "invalidation": Invalidation,
    "linearizable": Linearizable,
    "linearizable-as": LinearizableAs,
    "liveness": Liveness,
    "monotonic-reads": MonotonicReads,
    "monotonic-writes": MonotonicWrites,
    "mutual-exclusion": MutualExclusion,
    "quiet-warm-up": QuietWarmUp,
    "reaches-cache": ReachesCache,
    "read-after-write": ReadAfterWrite,
    "read-your-writes": ReadYourWrites,
    "round-trips": RoundTrips,
    "sequential": Sequential,
    "single-flight": SingleFlight,
    "staleness-in-versions": StalenessInVersions,
    "writes-follow-reads": WritesFollowReads,
}

_WORDS: Mapping[type, str] = {
    bool: "true or false",
    float: "a number",
    int: "a whole number",
    str: "a text",
    NoneType: "null",
}
"""The types that a parameter can have, as a person who writes JSON calls them."""


def property_to_dict(item: Property) -> dict[str, Any] | None:
    """`{"name": …}` and its parameters; None for a property of somebody else's making."""
    if PROPERTIES.get(item.name) is not type(item):
        return None
    names = [field.name for field in fields(PROPERTIES[item.name])]
    return {"name": item.name} | {name: getattr(item, name) for name in names}


def property_from_dict(data: Any) -> Property:
    """Read what `property_to_dict` wrote, or a part of it that leaves out what is as by default.

    Raises UsageError for anything else: an unknown name, a parameter that is missing or that there is not,
    one of the wrong type or out of range.
    """
    if not isinstance(data, dict) or data.get("name") not in list(PROPERTIES):
        raise UsageError(f"not a property: {data!r}; expected {{'name': one of {', '.join(PROPERTIES)}, …}}")
    kind = PROPERTIES[data["name"]]
    given = {name: value for name, value in data.items() if name != "name"}
    known = {field.name: field for field in fields(kind)}
    required = {name for name, field in known.items() if field.default is MISSING}
    if not required <= set(given) <= set(known):
        raise UsageError(f"property {data!r}: {data['name']!r} takes {_usage(kind)}")
    for name, value in given.items():
        if not any(_is_a(value, type_) for type_ in _types(known[name].type)):
            told = " or ".join(_WORDS[type_] for type_ in _types(known[name].type))
            raise UsageError(f"property {data!r}: {name!r} is {value!r}; write {told}")
    found: Property = kind(**given)
    return found


def _usage(kind: Any) -> str:
    """ "'seconds'", "'loads' (if not 1), …", "no parameters"."""
    told = (
        repr(field.name) if field.default is MISSING else f"{field.name!r} (if not {field.default!r})"
        for field in fields(kind)
    )
    return ", ".join(told) or "no parameters"


def _types(declared: Any) -> Iterator[type]:
    """The types of a parameter that was declared as one of them, or as a union."""
    yield from get_args(declared) or (declared,)


def _is_a(value: Any, type_: type) -> bool:
    """Whether a JSON value is of a type: 1 is a number as 1.0 is, and true is none."""
    wanted = (int, float) if type_ is float else type_
    return isinstance(value, wanted) and (type_ is bool or not isinstance(value, bool))
