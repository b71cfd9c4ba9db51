"""The table of rules: for each thing that a finding can be about, its anomalies and how to tell them.

Rules are tried in this order, from the most specific to the most general: each may rely on those before it.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from cacheproof.models.anomaly_rules import counts, faults, fills, invalidations, loads, write_behind
from cacheproof.models.anomaly_rules.case import Case
from cacheproof.models.anomaly_rules.kinds import About

__all__ = ["RULES", "Rule"]

Rule = tuple[str, Callable[[Case], bool]]
"""The slug of an anomaly, and whether a case shows it."""

_VALUES: tuple[Rule, ...] = (
    ("response-desync", invalidations.response_desync),
    ("poison-write", write_behind.poison_write),
    ("dirty-flag-race", write_behind.dirty_flag_race),
    ("pop-then-crash", write_behind.pop_then_crash),
    ("failover-rollback", faults.failover_rollback),
    ("durability-rollback", faults.durability_rollback),
    ("lost-write-behind", write_behind.lost_write_behind),
    ("pending-list-black-hole", write_behind.pending_list_black_hole),
    ("clobbered-write", write_behind.clobbered_write),
    ("flush-reorder", write_behind.flush_reorder),
    ("dirty-eviction", write_behind.dirty_eviction),
    ("dirty-write-through", invalidations.dirty_write_through),
    ("zombie-write", faults.zombie_write),
    ("staleness-beyond-ttl", fills.staleness_beyond_ttl),
    ("joined-stale-load", fills.joined_stale_load),
    ("warm-up-zombie", fills.warm_up_zombie),
    ("warm-up-overwrite", fills.warm_up_overwrite),
    ("unfenced-late-write", fills.unfenced_late_write),
    ("stale-put-back", fills.stale_put_back),
    ("event-before-data", fills.event_before_data),
    ("invalidate-before-commit", fills.invalidate_before_commit),
    ("pre-delete-race", fills.pre_delete_race),
    ("double-delete-too-early", fills.double_delete_too_early),
    ("lost-tombstone", fills.lost_tombstone),
    ("early-refresh-resurrection", fills.early_refresh_resurrection),
    ("resurrected-delete", fills.resurrected_delete),
    ("stale-negative-entry", fills.stale_negative_entry),
    ("fill-over-write-through", fills.fill_over_write_through),
    ("stale-set", fills.stale_set),
    ("replica-lag-fill", fills.replica_lag_fill),
    ("old-snapshot-fill", fills.old_snapshot_fill),
    ("one-way-partition", faults.one_way_partition),
    ("refresh-never-lands", invalidations.refresh_never_lands),
    ("version-reset", invalidations.version_reset),
    ("version-inversion", invalidations.version_inversion),
    ("write-through-reorder", invalidations.write_through_reorder),
    ("missed-notification", invalidations.missed_notification),
    ("competing-consumers", invalidations.competing_consumers),
    ("lost-invalidation", invalidations.lost_invalidation),
    ("group-clear-race", invalidations.group_clear_race),
    ("dual-write-gap", invalidations.dual_write_gap),
    ("ambiguous-commit", invalidations.ambiguous_commit),
    ("crash-before-invalidation", invalidations.crash_before_invalidation),
    ("commit-window", invalidations.commit_window),
    ("no-invalidation", invalidations.no_invalidation),
)

_COUNTS: tuple[Rule, ...] = (
    ("retry-double-apply", counts.retry_double_apply),
    ("double-apply", counts.double_apply),
    ("pop-then-crash", counts.popped_increment),
    ("failover-rollback", counts.lost_in_a_failover),
    ("lost-write-behind", counts.lost_in_the_cache),
    ("lost-update", counts.lost_update),
)

_LOCKS: tuple[Rule, ...] = (
    ("lock-lost-on-failover", loads.lock_lost_on_failover),
    ("foreign-release", loads.foreign_release),
    ("two-lock-holders", loads.two_lock_holders),
)

_LOADS: tuple[Rule, ...] = (
    ("penetration", loads.penetration),
    *_LOCKS,
    ("lock-convoy-collapse", loads.lock_convoy_collapse),
    ("refresh-never-lands", loads.refused_refresh),
    ("early-expiry-herd", loads.early_expiry_herd),
)

_WAITS: tuple[Rule, ...] = (("orphan-lock", loads.orphan_lock),)

RULES: Mapping[About, tuple[Rule, ...]] = MappingProxyType(
    {
        About.VALUE: _VALUES,
        About.COUNT: _COUNTS,
        About.LOAD: _LOADS,
        About.LOCK: _LOCKS,
        About.WAIT: _WAITS,
        About.NONE: (),
    }
)
"""The rules for findings about each thing."""
