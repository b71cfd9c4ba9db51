"""How an anomaly is told from the history: rules, each a predicate over a case.

Its modules:

    case            a finding, and the moments of its history that rules ask for
    kinds           which rules are tried on a finding, and its name where none fits
    table           the rules, from the most specific to the most general
    fills           a value was loaded before its commit, and cached after it
    invalidations   sets and invalidations by writers: in another order, late, in vain, not at all
    faults          requests that arrive late, a cache that is back in its past, writers cut off
    write_behind    the change, not the invalidation, went astray
    counts          increments
    loads           loads and locks
"""

from cacheproof.models.anomaly_rules.case import Case
from cacheproof.models.anomaly_rules.kinds import KINDS, UNKNOWN_KIND, About, Kind
from cacheproof.models.anomaly_rules.table import RULES, Rule

__all__ = ["KINDS", "RULES", "UNKNOWN_KIND", "About", "Case", "Kind", "Rule"]
