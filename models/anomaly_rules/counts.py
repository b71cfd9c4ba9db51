"""Counters: an increment was applied twice, got lost on its way, or undid another one."""

from cacheproof.models.anomaly_rules.case import Case
from cacheproof.models.anomaly_rules.write_behind import crashed_with
from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.trace import Step, acknowledges, commands, delivers, pops

__all__ = [
    "double_apply",
    "lost_in_a_failover",
    "lost_in_the_cache",
    "lost_update",
    "popped_increment",
    "retry_double_apply",
]

_ADDS = frozenset(
    {"APPEND", "DECR", "DECRBY", "HINCRBY", "HINCRBYFLOAT", "INCR", "INCRBY", "INCRBYFLOAT", "LPUSH", "RPUSH"}
    | {"XADD", "ZINCRBY"}
)
"""Commands that do more when they are carried out twice."""


def _too_many(case: Case) -> bool:
    """A sum that cannot be may be too large or too small."""
    return case.finding.kind in ("double-applied", "impossible-sum")


def _too_few(case: Case) -> bool:
    return case.finding.kind in ("lost-increment", "impossible-sum")


def _done(case: Case) -> list[Step]:
    """What the servers carried out; a request that had to wait counts once, when it was answered."""
    return [step for step in case.effects if not step.exchange.waits]


def retry_double_apply(case: Case) -> bool:
    """An operation sent the same request again after the server had carried it out and the reply was lost."""
    first = [s for s in _done(case) if s.exchange.fate is Fate.REPLY_LOST and (s.changes or _adds(s))]
    return _too_many(case) and any(
        one.exchange.request == other.exchange.request
        and one.exchange.process == other.exchange.process
        and one.operation == other.operation
        and one.index < other.index
        for one in first
        for other in _done(case)
    )


def _adds(step: Step) -> bool:
    return not _ADDS.isdisjoint(command[0] for command in commands(step.exchange))


def double_apply(case: Case) -> bool:
    """A worker crashed between its change and its acknowledgement, and somebody changed the record again."""
    if not _too_many(case):
        return False
    changes = [step for step in _done(case) if step.changes and step.by_worker]
    return any(_unacknowledged(case, step) and changes[-1].index > step.index for step in changes)


def _unacknowledged(case: Case, change: Step) -> bool:
    process = change.exchange.process
    crash = case.crash_of(process, change.index)
    if crash is None:
        return False
    between = (e for e in case.history.exchanges if change.index < e.index < crash and e.process == process)
    return not any(acknowledges(exchange) or delivers(exchange) for exchange in between)


def popped_increment(case: Case) -> bool:
    """A worker took an increment off the queue, or heard nothing of what it took, and died."""
    taken = [e for e in case.history.exchanges if pops(e)]
    return _too_few(case) and any(e.fate is Fate.REPLY_LOST or crashed_with(case, e) for e in taken)


def lost_in_the_cache(case: Case) -> bool:
    """The cache was killed with increments that it had acknowledged."""
    return _lost_by(case, "kill")


def lost_in_a_failover(case: Case) -> bool:
    """The replica that took over lacked increments that the cache had acknowledged."""
    return _lost_by(case, "failover")


def _lost_by(case: Case, fault: str) -> bool:
    struck = [f for f in case.history.faults if f.fault == fault and f.server is ServerName.CACHE]
    added = [step.index for step in case.effects if _adds(step) and not step.by_worker]
    return _too_few(case) and any(index < fault.index for fault in struck for index in added)


def lost_update(case: Case) -> bool:
    """An operation wrote what it had computed from the cache, over a commit that it had not seen."""
    if not _too_few(case):
        return False
    for change in case.effects:
        if not change.changes or change.by_worker:
            continue
        looks = [
            s for s in case.effects if s.operation == change.operation and s.found and s.index < change.index
        ]
        if looks and looks[-1].exchange.server is ServerName.CACHE and _missed(case, looks[-1], change):
            return True
    return False


def _missed(case: Case, look: Step, change: Step) -> bool:
    """True if somebody else had committed before the change, and the look did not show it."""
    others = [
        c for c in case.register.commits if c.process != change.exchange.process and c.index < change.index
    ]
    return bool(others) and (others[-1].index > look.index or not look.shows(others[-1].value))
