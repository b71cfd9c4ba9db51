"""A page of the catalogue of patterns, as data: what is verified, against which contract, and how.

A page names its class and its contract instead of holding them, so a catalogue of many patterns imports none
of them, and whoever runs one imports that one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from cacheproof.models.errors import UsageError

__all__ = ["Kind", "Page", "Section"]


class Section(StrEnum):
    """The sections of the catalogue, in their order."""

    CACHE_ASIDE = "Cache-aside"
    STAMPEDE = "Stampede protection"
    READ_THROUGH = "Read-through"
    WRITE_THROUGH = "Write-through"
    WRITE_BEHIND = "Write-behind"
    INVALIDATION = "Invalidation"
    WARM_UP = "Warm-up"


class Kind(StrEnum):
    """What a pattern is: as guides teach it, or designed to keep its word."""

    RECIPE = "recipe"
    HARDENED = "hardened"


@dataclass(frozen=True, slots=True)
class Page:
    """One row of the catalogue.

    `name` is unique, in kebab-case.  `cache` is the class, as "module:Class" below `cacheproof.patterns`, and
    `contract` the name of the function in the same module that makes its contract from a `ttl_s` in seconds
    (None: no ttl).  `options` are further keyword arguments of `verify` (clients, keys, …); those of a search,
    such as its profile and seed, are not the page's to say.
    """

    name: str
    section: Section
    cache: str
    contract: str
    kind: Kind = Kind.RECIPE
    ttl_s: float | None = 300
    options: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        module, _, attribute = self.cache.partition(":")
        if not (module.isidentifier() and attribute.isidentifier() and self.contract.isidentifier()):
            raise UsageError(
                f"page {self.name!r} is about {self.cache!r} and {self.contract!r}; write 'module:Class' and the "
                "name of what makes the contract"
            )
        if taken := sorted(_OF_THE_SEARCH & set(self.options)):
            raise UsageError(
                f"page {self.name!r} sets {taken}, which the one who runs it decides; leave them out"
            )

    @property
    def module(self) -> str:
        """The module of the class and the contract, such as "cacheproof.patterns.cache_aside"."""
        return f"cacheproof.patterns.{self.cache.partition(':')[0]}"

    @property
    def class_name(self) -> str:
        return self.cache.partition(":")[2]


_OF_THE_SEARCH = frozenset(
    {"backend", "budget", "jobs", "profile", "progress", "seed", "servers", "store", "under", "witness"}
)
