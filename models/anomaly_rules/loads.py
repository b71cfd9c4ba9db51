"""Loads and locks: too many asked the database at once, two were where one should be, nobody let go."""

from collections.abc import Iterator, Mapping
from math import inf

from cacheproof.models.anomaly_rules.case import Case
from cacheproof.models.decision import ServerName
from cacheproof.models.trace import Step, acquires, releases, targets

__all__ = [
    "early_expiry_herd",
    "foreign_release",
    "lock_convoy_collapse",
    "lock_lost_on_failover",
    "orphan_lock",
    "penetration",
    "refused_refresh",
    "two_lock_holders",
]

_UNITS_S: Mapping[str, float] = {"EX": 1.0, "PX": 0.001}
"""The options of SET that say for how long, in seconds."""


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


def lock_lost_on_failover(case: Case) -> bool:
    """A replica took over that knew nothing of a lock, which was granted again before it would have expired."""
    return any(
        first.index < fault.index < second.index and not _had_expired(case, first, second)
        for first, second in _held_at_once(case)
        for fault in case.history.faults
        if fault.fault == "failover"
    )


def _had_expired(case: Case, first: Step, second: Step) -> bool:
    names = targets(first.exchange)
    ended = (
        fault.fault in ("expire", "evict")
        and first.index < fault.index < second.index
        and fault.detail in names
        for fault in case.history.faults
    )
    return second.at_s - first.at_s >= _ttl_s(first) or any(ended)


def _ttl_s(acquired: Step) -> float:
    """For how long a lock was acquired, in seconds."""
    words = [word.upper() for word in acquired.exchange.request]
    for unit, seconds in _UNITS_S.items():
        after = words[words.index(unit) + 1 :][:1] if unit in words else []
        if after and after[0].isdigit():
            return int(after[0]) * seconds
    return inf


def two_lock_holders(case: Case) -> bool:
    """A client acquired a lock that another one had acquired, and neither released nor lost by a crash."""
    return any(_held_at_once(case))


def _held_at_once(case: Case) -> Iterator[tuple[Step, Step]]:
    """Each acquisition of a lock by a client while another one held it, behind that one's."""
    for name in sorted(case.locks):
        holder: Step | None = None
        for step in _of_lock(case, name):
            if not acquires(step.exchange):
                holder = None
                continue
            if holder is not None and _still_at_work(case, holder, step):
                yield holder, step
            holder = step


def _still_at_work(case: Case, holder: Step, other: Step) -> bool:
    if holder.exchange.process == other.exchange.process:
        return False
    crash = case.crash_of(holder.exchange.process, holder.index)
    return crash is None or crash > other.index


def orphan_lock(case: Case) -> bool:
    """A client died, or left, with a lock that another one was refused afterwards."""
    return any(_left_behind(case, name) for name in case.locks)


def _left_behind(case: Case, name: str) -> bool:
    taken = list(_of_lock(case, name))
    refused = [s.index for s in case.lock_steps if s.refused and name in targets(s.exchange)]
    for number, owner in enumerate(taken):
        if not acquires(owner.exchange):
            continue
        until = taken[number + 1].index if number + 1 < len(taken) else inf
        left = case.crash_of(owner.exchange.process, owner.index)
        if left is None and owner.operation is not None:
            left = owner.operation.returned
        if left is not None and any(left < index < until for index in refused):
            return True
    return False


def _of_lock(case: Case, name: str) -> Iterator[Step]:
    """The acquisitions and releases of one lock that took effect, in order."""
    for step in case.lock_steps:
        exchange = step.exchange
        if name in targets(exchange) and step.took_effect and (acquires(exchange) or releases(exchange)):
            yield step
