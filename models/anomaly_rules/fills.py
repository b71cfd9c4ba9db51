"""Fills that came too late: a value was loaded before the commit, or from an old place, and cached after it."""

from cacheproof.models.anomaly_rules.case import Case
from cacheproof.models.decision import Fate, Flushed, ServerName
from cacheproof.models.event import Exchanged, Faulted
from cacheproof.models.trace import Step, acquires, is_on_replica, mentioned, publishes, targets

__all__ = [
    "double_delete_too_early",
    "early_refresh_resurrection",
    "event_before_data",
    "fill_over_write_through",
    "invalidate_before_commit",
    "joined_stale_load",
    "lost_tombstone",
    "old_snapshot_fill",
    "pre_delete_race",
    "replica_lag_fill",
    "resurrected_delete",
    "stale_negative_entry",
    "stale_put_back",
    "stale_set",
    "staleness_beyond_ttl",
    "unfenced_late_write",
    "warm_up_overwrite",
    "warm_up_zombie",
]


def staleness_beyond_ttl(case: Case) -> bool:
    """Time passed between the load and the fill, and the ttl counts from the fill."""
    if case.finding.property != "bounded-staleness" or not case.late_fill:
        return False
    return case.fill is not None and case.load is not None and case.fill.at_s > case.load.at_s


def joined_stale_load(case: Case) -> bool:
    """The culprit found nothing itself, and somebody's load from before the commit was still under way."""
    if case.read is None or case.commit is None:
        return False
    own = [step for step in case.steps if step.operation == case.read]
    if any(step.found or step.scripted for step in own):
        return False
    earlier = (step for step in case.effects if step.loads and step.index < case.commit.index)
    return any(_open_when_read(case, step) and step.shows(case.read.value) for step in earlier)


def _open_when_read(case: Case, load: Step) -> bool:
    """True if the load belongs to another operation, which had not returned when the culprit began."""
    operation = load.operation
    if case.read is None or operation is None or operation == case.read:
        return False
    return operation.returned is None or operation.returned > case.read.invoked


def warm_up_zombie(case: Case) -> bool:
    return warm_up_overwrite(case) and case.commit is not None and case.commit.value is None


def warm_up_overwrite(case: Case) -> bool:
    """A late fill by a warm-up, whatever the writers did to the entry meanwhile."""
    operation = case.fill.operation if case.fill else None
    return case.late_fill and operation is not None and operation.f.startswith("warm")


def unfenced_late_write(case: Case) -> bool:
    """A late fill by a client whose loading lock somebody else had acquired meanwhile."""
    if case.fill is None or not case.late_fill:
        return False
    held = [
        s for s in case.lock_steps if acquires(s.exchange) and s.took_effect and s.index < case.fill.index
    ]
    own = next((step for step in held if step.operation == case.fill.operation), None)
    return own is not None and any(
        step.index > own.index
        and step.operation != own.operation
        and not targets(step.exchange).isdisjoint(targets(own.exchange))
        for step in held
    )


def stale_put_back(case: Case) -> bool:
    """The fill wrote back what the same operation had read from the cache, before the commit."""
    if case.fill is None or case.commit is None or not case.fill.by_reader or case.load is not None:
        return False
    hit = next((step for step in reversed(case.before_fill) if step.found), None)
    return hit is not None and hit.index < case.commit.index < case.fill.index


def event_before_data(case: Case) -> bool:
    """The writer sent its event before its commit, a worker acted on it, and a reader filled once more."""
    commit, fill, load = case.commit, case.fill, case.load
    if not (commit and fill and load and load.index < commit.index) or case.overtaken:
        return False
    sent = next((e.index for e in _published(case) if e.index < commit.index), None)
    if sent is None:
        return False
    acted = [s for s in case.touches(sent, commit.index) if s.took_effect and s.operation != case.writer]
    return any(step.index < fill.index for step in acted)


def _published(case: Case) -> list[Exchanged]:
    """The events that the writer sent, in order."""
    writer = case.writer
    if writer is None:
        return []
    until = case.end if writer.returned is None else writer.returned
    sent = (e for e in case.history.exchanges if e.process == writer.process and publishes(e))
    return [exchange for exchange in sent if writer.invoked < exchange.index < until]


def _early_delete(case: Case) -> Step | None:
    """The DEL by which the writer invalidated before its commit, if that was all it did and was filled over."""
    commit, fill, load = case.commit, case.fill, case.load
    if not (commit and fill and load and load.index < commit.index):
        return None
    own = [s for s in case.steps if s.deletes and not s.by_reader and s.operation == case.writer]
    if any(step.index > commit.index for step in own):
        return None
    return next((s for s in own if s.took_effect and s.index < fill.index), None)


def invalidate_before_commit(case: Case) -> bool:
    early = _early_delete(case)
    changes = (s for s in case.effects if s.changes and s.operation == case.writer)
    return early is not None and any(step.index < early.index for step in changes)


def pre_delete_race(case: Case) -> bool:
    return _early_delete(case) is not None


def double_delete_too_early(case: Case) -> bool:
    """The writer deleted more than once, not because a reply was lost, and the fill came after that."""
    if case.fill is None or not case.late_fill or not case.overtaken:
        return False
    deletes = [s for s in case.effects if s.deletes and not s.sets and s.operation == case.writer]
    meant = [s for s in deletes if s.exchange.fate is Fate.DELIVERED and s.index < case.fill.index]
    return case.writer is not None and len(meant) > 1


def early_refresh_resurrection(case: Case) -> bool:
    """A late fill by an operation that had hit, and loaded all the same."""
    hits = (step for step in case.before_fill if step.found and step.exchange.server is ServerName.CACHE)
    return stale_set(case) and case.load is not None and any(hit.index < case.load.index for hit in hits)


def resurrected_delete(case: Case) -> bool:
    return stale_set(case) and case.commit is not None and case.commit.value is None


def stale_negative_entry(case: Case) -> bool:
    return stale_set(case) and case.read is not None and case.read.value is None


def lost_tombstone(case: Case) -> bool:
    """Between the mark that a writer left and the fill, the cache lost it: a kill, a flush, an expiry, an eviction."""
    if case.fill is None or not case.marks or not stale_set(case):
        return False
    return any(
        case.marks[-1].index < fault.index < case.fill.index and _takes_away(case, fault)
        for fault in case.history.faults
    )


def _takes_away(case: Case, fault: Faulted) -> bool:
    if fault.fault == "kill":
        return fault.server is ServerName.CACHE
    if fault.fault == "flush":
        return fault.detail == Flushed.KEYS
    return fault.fault in ("expire", "evict") and mentioned(case.finding.key, str(fault.detail))


def fill_over_write_through(case: Case) -> bool:
    return case.late_fill and any(step.sets and not step.deletes for step in case.overtaken)


def stale_set(case: Case) -> bool:
    return case.late_fill and any(step.deletes for step in case.overtaken)


def replica_lag_fill(case: Case) -> bool:
    """A replica still answered with the older value, after the commit: the fill, or the culprit itself."""
    own = [step for step in case.effects if step.operation == case.read and step.index == case.seen]
    loads = [step for step in (*own, case.load) if step is not None and is_on_replica(step.exchange)]
    return any(
        case.read and case.commit and case.commit.index < step.index and step.shows(case.read.value)
        for step in loads
    )


def old_snapshot_fill(case: Case) -> bool:
    """The fill was loaded after the commit, and the database still answered with the older value."""
    read, commit, load = case.read, case.commit, case.load
    return bool(read and commit and load and commit.index < load.index and load.shows(read.value))
