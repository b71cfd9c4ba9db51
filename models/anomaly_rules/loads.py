"""Loads and locks: too many asked the database at once, two were where one should be, nobody let go."""

from collections.abc import Iterator

from cacheproof.models.anomaly_rules.case import Case
from cacheproof.models.decision import ServerName
from cacheproof.models.trace import Step, acquires, releases, targets

__all__ = [
    "early_expiry_herd",
    "foreign_release",
    "lock_convoy_collapse",
    "orphan_lock",
    "penetration",
    "refused_refresh",
    "two_lock_holders",
]


def _loads(case: Case) -> list[Step]:
    """The loads that the finding points at; where it points at none, all of the key."""
    loads = [step for step in case.effects if step.loads]
    return [step for step in loads if step.index in case.finding.at] or loads


def penetration(case: Case) -> bool:
    """None of the loads found a row."""
    loads = _loads(case)
    return len(loads) > 1 and not any(step.found for step in loads)


def refused_refresh(case: Case) -> bool:
    """What a load brought was refused, because the old entry is there."""
    sets = [step for step in case.steps if step.sets and step.by_reader and step.refused]
    return any(
        step.operation == load.operation and step.index > load.index for load in _loads(case) for step in sets
    )


def early_expiry_herd(case: Case) -> bool:
    """Every load came from an operation that had hit."""
    loads = _loads(case)
    return len(loads) > 1 and all(_had_hit(case, load) for load in loads)


def _had_hit(case: Case, load: Step) -> bool:
    return any(
        step.found
        and step.exchange.server is ServerName.CACHE
        and step.operation == load.operation
        and step.exchange.process == load.exchange.process
        and step.index < load.index
        for step in case.effects
    )


def lock_convoy_collapse(case: Case) -> bool:
    """Somebody loaded without the lock, which had been refused it."""
    tried = [step for step in case.lock_steps if acquires(step.exchange)]
    got = {step.exchange.process for step in tried if step.took_effect}
    refused = {step.exchange.process for step in tried if step.refused}
    return any(load.exchange.process in refused - got for load in _loads(case))


def foreign_release(case: Case) -> bool:
    """A client deleted a lock that was another one's by then."""
    for name in sorted(case.locks):
        holder: int | None = None
        for step in _of_lock(case, name):
            process = step.exchange.process
            if acquires(step.exchange):
                holder = process
            elif holder not in (None, process):
                return True
            else:
                holder = None
    return False


def two_lock_holders(case: Case) -> bool:
    """A client acquired a lock that another one had acquired, and neither released nor lost by a crash."""
    for name in sorted(case.locks):
        holder: Step | None = None
        for step in _of_lock(case, name):
            if not acquires(step.exchange):
                holder = None
                continue
            if holder is not None and _still_at_work(case, holder, step):
                return True
            holder = step
    return False


def _still_at_work(case: Case, holder: Step, other: Step) -> bool:
    if holder.exchange.process == other.exchange.process:
        return False
    crash = case.crash_of(holder.exchange.process, holder.index)
    return crash is None or crash > other.index


def orphan_lock(case: Case) -> bool:
    """A client died, or left, with a lock that another one was refused afterwards."""
    return any(_left_behind(case, name) for name in case.locks)


def _left_behind(case: Case, name: str) -> bool:
    owner = next(
        (step for step in reversed(list(_of_lock(case, name))) if acquires(step.exchange)),
        None,
    )
    if owner is None or any(s.index > owner.index for s in _of_lock(case, name)):
        return False
    left = case.crash_of(owner.exchange.process, owner.index)
    if left is None and owner.operation is not None:
        left = owner.operation.returned
    refused = (s.index for s in case.lock_steps if s.refused and name in targets(s.exchange))
    return left is not None and any(index > left for index in refused)


def _of_lock(case: Case, name: str) -> Iterator[Step]:
    """The acquisitions and releases of one lock that took effect, in order."""
    for step in case.lock_steps:
        exchange = step.exchange
        if name in targets(exchange) and step.took_effect and (acquires(exchange) or releases(exchange)):
            yield step
