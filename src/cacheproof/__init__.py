"""cacheproof: does your cache keep its promises, when requests interleave and things break?

The public face.  What it names is loaded when it is first used, so that importing cacheproof pulls in neither
drivers nor Hypothesis.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cacheproof.harness.session import Expect
    from cacheproof.harness.strategies.statemachine import state_machine
    from cacheproof.harness.verify import verify
    from cacheproof.models.atomic_reads import AtomicReads
    from cacheproof.models.availability import Availability
    from cacheproof.models.causal import Causal, CausalConvergence, CausalMemory
    from cacheproof.models.contract import ALL_CONDITIONS, CORE_CONDITIONS, Condition, Contract, Guarantee
    from cacheproof.models.convergence import Convergence
    from cacheproof.models.counters import ExactlyOnce
    from cacheproof.models.delta_atomicity import DeltaAtomicity
    from cacheproof.models.durability import Durability
    from cacheproof.models.errors import (
        CacheError,
        CacheproofError,
        EnvironmentFault,
        HarnessError,
        UsageError,
    )
    from cacheproof.models.flush_order import FlushOrder
    from cacheproof.models.general import LinearizableAs
    from cacheproof.models.history import History
    from cacheproof.models.integrity import Integrity
    from cacheproof.models.invalidation import Invalidation
    from cacheproof.models.ladder import Ladder, climb
    from cacheproof.models.liveness import Liveness
    from cacheproof.models.mutual_exclusion import MutualExclusion
    from cacheproof.models.quiet_warm_up import QuietWarmUp
    from cacheproof.models.read_after_write import ReadAfterWrite
    from cacheproof.models.report import Report
    from cacheproof.models.round_trips import RoundTrips
    from cacheproof.models.sequential import Sequential
    from cacheproof.models.sessions import MonotonicReads, MonotonicWrites, ReadYourWrites, WritesFollowReads
    from cacheproof.models.single_flight import SingleFlight
    from cacheproof.models.staleness import BoundedStaleness
    from cacheproof.models.verdict import Property, Verdict
    from cacheproof.models.version_staleness import StalenessInVersions
    from cacheproof.models.zones import Linearizable
    from cacheproof.patterns.cache_aside import CACHE_ASIDE
    from cacheproof.patterns.cache_aside_async import CACHE_ASIDE_ASYNC
    from cacheproof.patterns.cache_aside_delete_first import CACHE_ASIDE_DELETE_FIRST
    from cacheproof.patterns.cache_aside_ttl_only import CACHE_ASIDE_TTL_ONLY
    from cacheproof.patterns.read_through import READ_THROUGH
    from cacheproof.patterns.write_behind_list import WRITE_BEHIND_LIST
    from cacheproof.patterns.write_behind_stream import WRITE_BEHIND_STREAM
    from cacheproof.patterns.write_through import WRITE_THROUGH

__all__ = [
    "ALL_CONDITIONS",
    "CACHE_ASIDE",
    "CACHE_ASIDE_ASYNC",
    "CACHE_ASIDE_DELETE_FIRST",
    "CACHE_ASIDE_TTL_ONLY",
    "CORE_CONDITIONS",
    "READ_THROUGH",
    "WRITE_BEHIND_LIST",
    "WRITE_BEHIND_STREAM",
    "WRITE_THROUGH",
    "AtomicReads",
    "Availability",
    "BoundedStaleness",
    "CacheError",
    "CacheproofError",
    "Causal",
    "CausalConvergence",
    "CausalMemory",
    "Condition",
    "Contract",
    "Convergence",
    "DeltaAtomicity",
    "Durability",
    "EnvironmentFault",
    "ExactlyOnce",
    "Expect",
    "FlushOrder",
    "Guarantee",
    "HarnessError",
    "History",
    "Integrity",
    "Invalidation",
    "Ladder",
    "Linearizable",
    "LinearizableAs",
    "Liveness",
    "MonotonicReads",
    "MonotonicWrites",
    "MutualExclusion",
    "Property",
    "QuietWarmUp",
    "ReadAfterWrite",
    "ReadYourWrites",
    "Report",
    "RoundTrips",
    "Sequential",
    "SingleFlight",
    "StalenessInVersions",
    "UsageError",
    "Verdict",
    "WritesFollowReads",
    "climb",
    "state_machine",
    "verify",
]

_WHERE = {
    "harness.session": ("Expect",),
    "harness.strategies.statemachine": ("state_machine",),
    "harness.verify": ("verify",),
    "models.atomic_reads": ("AtomicReads",),
    "models.availability": ("Availability",),
    "models.causal": ("Causal", "CausalConvergence", "CausalMemory"),
    "models.contract": ("ALL_CONDITIONS", "CORE_CONDITIONS", "Condition", "Contract", "Guarantee"),
    "models.convergence": ("Convergence",),
    "models.counters": ("ExactlyOnce",),
    "models.delta_atomicity": ("DeltaAtomicity",),
    "models.durability": ("Durability",),
    "models.errors": ("CacheError", "CacheproofError", "EnvironmentFault", "HarnessError", "UsageError"),
    "models.flush_order": ("FlushOrder",),
    "models.general": ("LinearizableAs",),
    "models.history": ("History",),
    "models.integrity": ("Integrity",),
    "models.invalidation": ("Invalidation",),
    "models.ladder": ("Ladder", "climb"),
    "models.liveness": ("Liveness",),
    "models.mutual_exclusion": ("MutualExclusion",),
    "models.quiet_warm_up": ("QuietWarmUp",),
    "models.read_after_write": ("ReadAfterWrite",),
    "models.report": ("Report",),
    "models.round_trips": ("RoundTrips",),
    "models.sequential": ("Sequential",),
    "models.sessions": ("MonotonicReads", "MonotonicWrites", "ReadYourWrites", "WritesFollowReads"),
    "models.single_flight": ("SingleFlight",),
    "models.staleness": ("BoundedStaleness",),
    "models.verdict": ("Property", "Verdict"),
    "models.version_staleness": ("StalenessInVersions",),
    "models.zones": ("Linearizable",),
    "patterns.cache_aside": ("CACHE_ASIDE",),
    "patterns.cache_aside_async": ("CACHE_ASIDE_ASYNC",),
    "patterns.cache_aside_delete_first": ("CACHE_ASIDE_DELETE_FIRST",),
    "patterns.cache_aside_ttl_only": ("CACHE_ASIDE_TTL_ONLY",),
    "patterns.read_through": ("READ_THROUGH",),
    "patterns.write_behind_list": ("WRITE_BEHIND_LIST",),
    "patterns.write_behind_stream": ("WRITE_BEHIND_STREAM",),
    "patterns.write_through": ("WRITE_THROUGH",),
}
_MODULES = {name: f"cacheproof.{module}" for module, names in _WHERE.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'cacheproof' has no attribute {name!r}")
    found = getattr(import_module(_MODULES[name]), name)
    globals()[name] = found
    return found
