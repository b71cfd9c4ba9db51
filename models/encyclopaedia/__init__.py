"""The encyclopaedia of cache anomalies: what happens, who suffers, what helps, and where it is described.

Its modules:

    entry        what an entry holds                    write_behind   changes the database has yet to get
    fills        loaded before, cached after            copies         events, tiers, regions
    ordering     orders and versions                    warm_up        filling a cache, rolling one out
    load         what the database has to carry         general        what a property saw, without a cause
    locks        lent for a time, used for longer       fixes          fixes that several entries share
    faults       crashes, lost messages, failovers      catalogue      all of them
"""

from cacheproof.models.encyclopaedia.catalogue import ANOMALIES, SECTIONS
from cacheproof.models.encyclopaedia.entry import LEAVES_OPEN, Anomaly

__all__ = ["ANOMALIES", "LEAVES_OPEN", "SECTIONS", "Anomaly"]
