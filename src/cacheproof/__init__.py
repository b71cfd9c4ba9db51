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
    from cacheproof.models.contract import ALL_CONDITIONS, CORE_CONDITIONS, Condition, Contract, Guarantee
    from cacheproof.models.convergence import Convergence
    from cacheproof.models.durability import Durability
    from cacheproof.models.errors import (
        CacheError,
        CacheproofError,
        EnvironmentFault,
        HarnessError,
        UsageError,
    )
    from cacheproof.models.integrity import Integrity
    from cacheproof.models.read_after_write import ReadAfterWrite
    from cacheproof.models.report import Report
    from cacheproof.models.staleness import BoundedStaleness
    from cacheproof.models.verdict import Property, Verdict
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
    "BoundedStaleness",
    "CacheError",
    "CacheproofError",
    "Condition",
    "Contract",
    "Convergence",
    "Durability",
    "EnvironmentFault",
    "Expect",
    "Guarantee",
    "HarnessError",
    "Integrity",
    "Linearizable",
    "Property",
    "ReadAfterWrite",
    "Report",
    "UsageError",
    "Verdict",
    "state_machine",
    "verify",
]

_WHERE = {
    "harness.session": ("Expect",),
    "harness.strategies.statemachine": ("state_machine",),
    "harness.verify": ("verify",),
    "models.contract": ("ALL_CONDITIONS", "CORE_CONDITIONS", "Condition", "Contract", "Guarantee"),
    "models.convergence": ("Convergence",),
    "models.durability": ("Durability",),
    "models.errors": ("CacheError", "CacheproofError", "EnvironmentFault", "HarnessError", "UsageError"),
    "models.integrity": ("Integrity",),
    "models.read_after_write": ("ReadAfterWrite",),
    "models.report": ("Report",),
    "models.staleness": ("BoundedStaleness",),
    "models.verdict": ("Property", "Verdict"),
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
