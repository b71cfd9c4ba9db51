"""Write-behind: the change, not the invalidation, went astray."""

from cacheproof.models.anomaly_rules.case import Case
from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.event import Exchanged
from cacheproof.models.operation import Operation
from cacheproof.models.register import is_write
from cacheproof.models.trace import Step, acknowledges, commands, delivers, error_of, mentioned, pops

__all__ = [
    "clobbered_write",
    "crashed_with",
    "dirty_eviction",
    "dirty_flag_race",
    "flush_reorder",
    "lost_write_behind",
    "pending_list_black_hole",
    "poison_write",
    "pop_then_crash",
]

_CLEARS = frozenset({"DEL", "HDEL", "LREM", "SREM", "UNLINK", "ZREM"})
_CLAIMS = frozenset({"XAUTOCLAIM", "XCLAIM"})
_REJECTED = ("22", "23", "42")
"""The classes of errors by which PostgreSQL refuses a value: data exception, constraint, rule or syntax."""


def poison_write(case: Case) -> bool:
    """The database refused the change that a worker brought it, for what it is."""
    lost = case.lost
    return lost is not None and any(
        step.changes
        and step.operation != lost
        and step.mentions(lost.value)
        and (error_of(step.exchange) or "").startswith(_REJECTED)
        for step in case.steps
    )


def dirty_flag_race(case: Case) -> bool:
    """A worker read the entry before the lost write, and cleared its mark after it."""
    if case.lost is None:
        return False
    reached = _reached_cache(case, case.lost)
    looks = (step for step in case.effects if step.by_worker and step.found and step.index < reached)
    return any(_cleared_after(case, look, reached) for look in looks)


def _cleared_after(case: Case, look: Step, reached: int) -> bool:
    """True if the client that looked cleared a mark of the key after `reached`, without looking once more."""
    own = [s for s in case.effects if s.exchange.process == look.exchange.process and s.index > look.index]
    clears = [s.index for s in own if _CLEARS & {command[0] for command in commands(s.exchange)}]
    again = next((s.index for s in own if s.looks), case.end)
    return any(reached < index < again for index in clears)


def pop_then_crash(case: Case) -> bool:
    """A worker took the change off the queue, and it never arrived in the database."""
    if case.lost is None:
        return False
    since = [e for e in case.history.exchanges if case.lost.invoked < e.index < case.seen]
    taken = [e for e in since if pops(e)]
    if any(e.fate is Fate.REPLY_LOST or mentioned(case.lost.value, str(e.reply)) for e in taken):
        return True
    taken += [e for e in since if acknowledges(e) and _acknowledged_early(case, e)]
    return any(crashed_with(case, e) for e in taken)


def _acknowledged_early(case: Case, ack: Exchanged) -> bool:
    """True if the worker changed nothing in the database between the delivery of entries and this XACK."""
    before = [e for e in case.history.exchanges if e.process == ack.process and e.index < ack.index]
    delivery = next((e.index for e in reversed(before) if delivers(e)), -1)
    return not any(e.server is ServerName.DATABASE and e.index > delivery for e in before)


def crashed_with(case: Case, taken: Exchanged) -> bool:
    """True if the client crashed before it changed the record, with what it had taken in its hands."""
    crash = case.crash_of(taken.process, taken.index)
    changes = (s for s in case.effects if s.changes and s.exchange.process == taken.process)
    return crash is not None and not any(taken.index < step.index < crash for step in changes)


def lost_write_behind(case: Case) -> bool:
    if case.lost is None or any(step.changes and step.operation == case.lost for step in case.steps):
        return False
    kills = (f for f in case.history.faults if f.fault == "kill" and f.server is ServerName.CACHE)
    return any(case.lost.invoked < kill.index < case.seen for kill in kills)


def pending_list_black_hole(case: Case) -> bool:
    """A worker crashed with entries delivered, and from then on only new entries were asked for."""
    if case.lost is None and case.commit is None and case.finding.kind != "unheard-event":
        return False
    for delivery in case.history.exchanges:
        named = delivers(delivery) and mentioned(case.finding.key, str(delivery.reply))
        if (named or case.finding.key in delivery.keys) and delivers(delivery) and _dropped(case, delivery):
            return True
    return False


def _dropped(case: Case, delivery: Exchanged) -> bool:
    crash = case.crash_of(delivery.process, delivery.index)
    if crash is None:
        return False
    own = [s for s in case.effects if s.exchange.process == delivery.process]
    if any(delivery.index < s.index < crash and (s.changes or s.touches) for s in own):
        return False
    later = [c for e in case.history.exchanges if crash < e.index < case.seen for c in commands(e)]
    asked = [command for command in later if command[0] == "XREADGROUP"]
    claimed = any(command[0] in _CLAIMS for command in later)
    return bool(asked) and not claimed and all(command[-1] == ">" for command in asked)


def clobbered_write(case: Case) -> bool:
    """A worker committed, over a write that had gone straight to the database, what was cached before it."""
    direct: list[int] = []
    for commit in case.register.commits:
        flusher = case.committer(commit)
        if flusher is not None and is_write(flusher):
            direct.append(commit.index)
            continue
        cached = [_cached_at(case, source) for source in case.register.wrote(commit.value)]
        if any(at is not None and any(at < index for index in direct) for at in cached):
            return True
    return False


def _cached_at(case: Case, write: Operation) -> int | None:
    """Where a write that did not change the database itself reached the cache."""
    own = [step for step in case.effects if step.operation == write]
    if any(step.changes for step in own):
        return None
    return next((step.index for step in own if step.touches), None)


def flush_reorder(case: Case) -> bool:
    """Workers committed two values in another order than their writes had reached the cache."""
    reached = []
    for commit in case.register.commits:
        flusher, sources = case.committer(commit), case.register.wrote(commit.value)
        if sources and (flusher is None or not is_write(flusher)):
            reached.append(_reached_cache(case, sources[0]))
    return reached != sorted(reached)


def _reached_cache(case: Case, write: Operation) -> int:
    return next((s.index for s in case.effects if s.touches and s.operation == write), write.invoked)


def dirty_eviction(case: Case) -> bool:
    """The entry of a write that was not flushed yet expired, or was evicted."""
    if case.lost is None:
        return False
    cached = _cached_at(case, case.lost)
    return cached is not None and any(
        fault.fault in ("expire", "evict")
        and cached < fault.index < case.seen
        and mentioned(case.finding.key, str(fault.detail))
        for fault in case.history.faults
    )
