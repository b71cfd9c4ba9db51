"""All entries together: by section, in the order in which they are printed, and by slug."""

from collections.abc import Mapping
from types import MappingProxyType

from cacheproof.models.encyclopaedia.copies import COPIES
from cacheproof.models.encyclopaedia.entry import Anomaly
from cacheproof.models.encyclopaedia.faults import FAULTS
from cacheproof.models.encyclopaedia.fills import FILLS
from cacheproof.models.encyclopaedia.general import GENERAL
from cacheproof.models.encyclopaedia.load import LOAD
from cacheproof.models.encyclopaedia.locks import LOCKS
from cacheproof.models.encyclopaedia.ordering import ORDERING
from cacheproof.models.encyclopaedia.warm_up import WARM_UPS
from cacheproof.models.encyclopaedia.write_behind import WRITE_BEHIND

__all__ = ["ANOMALIES", "SECTIONS"]

SECTIONS: Mapping[str, tuple[Anomaly, ...]] = MappingProxyType(
    {
        "Stale fills": FILLS,
        "Orders and versions": ORDERING,
        "Load": LOAD,
        "Locks": LOCKS,
        "Faults": FAULTS,
        "Write-behind": WRITE_BEHIND,
        "Events and copies": COPIES,
        "Warm-up and rollout": WARM_UPS,
        "General names": GENERAL,
    }
)
"""The entries of each section, by number; the last section holds those without one."""

ANOMALIES: Mapping[str, Anomaly] = MappingProxyType(
    {entry.slug: entry for entries in SECTIONS.values() for entry in entries}
)
"""Every entry by its slug."""
