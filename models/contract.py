"""Contracts: what a cache claims, under which conditions, and what of it is really kept.

A guarantee is a property under a condition.  A condition is a set of faults on top of any interleaving,
except `quiet`, in which one operation runs at a time.  A contract lists the guarantees that a pattern is
commonly claimed to give, and which of them it keeps.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from cacheproof.models.errors import UsageError
from cacheproof.models.fault import ALL_CONDITIONS, CORE_CONDITIONS, Condition
from cacheproof.models.verdict import Property
from cacheproof.models.workload import READ_AND_WRITE, Takes, check_operations, kind_of, of_numbers

__all__ = ["ALL_CONDITIONS", "CORE_CONDITIONS", "Condition", "Contract", "Guarantee"]


@dataclass(frozen=True)
class Guarantee:
    """A promise: an id of the claims ledger ("CA4"), the promise in words, and the property that judges it."""

    id: str
    claim: str
    property: Property
    kept: frozenset[Condition] = frozenset()
    """The conditions under which it holds; under the others it is claimed, and broken."""
    claimed: frozenset[Condition] = frozenset(CORE_CONDITIONS)
    """The conditions under which it is claimed, and so judged."""


@dataclass(frozen=True)
class Contract:
    """The promises of a cache.

    `workers` is the number of background workers that belong to it; `ttl_s` its time to live in seconds, or
    None if entries never expire.  `operations` are what its clients do (see workload.py); with one that counts
    among them, the records are numbers.
    """

    name: str
    guarantees: tuple[Guarantee, ...]
    ttl_s: float | None = None
    workers: int = 0
    conditions: tuple[Condition, ...] = field(default=CORE_CONDITIONS)
    operations: tuple[str, ...] = READ_AND_WRITE

    def __post_init__(self) -> None:
        check_operations(self.operations, f"contract {self.name!r}")
        ids = [guarantee.id for guarantee in self.guarantees]
        if len(set(ids)) < len(ids):
            raise UsageError(f"contract {self.name!r} has two guarantees of one id: {ids}")

    @property
    def probes_s(self) -> tuple[float, ...]:
        """When the epilogue has to read: every moment that a property of this contract asks for."""
        return tuple(sorted({at for guarantee in self.guarantees for at in guarantee.property.probes_s}))

    @property
    def numbers(self) -> bool:
        """Whether the records have to be numbers: some operation counts."""
        return of_numbers(self.operations)

    @property
    def keys(self) -> int:
        """How many records a run needs at least: two, for operations on several."""
        return 2 if any(kind_of(f).takes in (Takes.KEYS, Takes.PAIRS) for f in self.operations) else 1

    @property
    def kept(self) -> "Contract":
        """Only what is kept: the guarantees that hold, each under the conditions where it does."""
        narrowed = (replace(item, claimed=item.kept) for item in self.guarantees if item.kept)
        return replace(self, guarantees=tuple(narrowed))

    def only(self, ids: Iterable[str]) -> "Contract":
        """The same contract with only these guarantees.  Raises UsageError for an unknown id."""
        wanted = tuple(ids)
        known = [guarantee.id for guarantee in self.guarantees]
        if unknown := [item for item in wanted if item not in known]:
            raise UsageError(f"contract {self.name!r} has no guarantee {unknown}; it has {known}")
        return replace(self, guarantees=tuple(item for item in self.guarantees if item.id in wanted))
