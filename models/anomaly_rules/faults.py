"""What faults alone bring about: requests that arrive late, a cache that is back in its past, writers cut off."""

from collections.abc import Iterator

from cacheproof.models.anomaly_rules.case import Case
from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.event import Faulted
from cacheproof.models.operation import Outcome
from cacheproof.models.register import is_write, written
from cacheproof.models.trace import Step

__all__ = ["durability_rollback", "failover_rollback", "one_way_partition", "zombie_write"]


def zombie_write(case: Case) -> bool:
    """A request that its client had given up arrived after what is newer, and undid it."""
    return (_is_late(case.fill) and _overtaken(case)) or _committed_late(case)


def _is_late(step: Step | None) -> bool:
    return step is not None and step.exchange.fate is Fate.DELAYED


def _overtaken(case: Case) -> bool:
    """Between the sending of the fill and its arrival came the commit, or what a writer then did to the entry."""
    if case.fill is None or case.commit is None or not case.commit.index < case.fill.index:
        return False
    sent = case.fill.sent
    return sent < case.commit.index or any(step.index > sent for step in case.overtaken)


def _committed_late(case: Case) -> bool:
    """The database carried out an old change over the committed value of the write that was found lost."""
    culprit = case.finding.culprit
    if culprit is None or not is_write(culprit):
        return False
    place = case.register.position(written(culprit))
    if not place:
        return False
    committed, *over = case.register.commits[place - 1 :]
    late = [step for step in case.effects if step.changes and _is_late(step)]
    return any(
        step.sent < committed.index < step.index < commit.index
        for step in late
        for commit in over
        if commit.process == step.exchange.process and step.mentions(commit.value)
    )


def failover_rollback(case: Case) -> bool:
    """A replica took over which lacked the last writes: an invalidation, a lease that was voided, a change."""
    failovers = [fault for fault in case.history.faults if fault.fault == "failover"]
    return any(
        _is_back(case, fault) or _let_in(case, fault) or _forgot_change(case, fault) for fault in failovers
    )


def durability_rollback(case: Case) -> bool:
    """The cache was started with what it had persisted, which lacked the last writes.

    A mark that is gone has a name of its own, and so has a change that a kill takes.
    """
    starts = [fault for fault in case.history.faults if fault.fault == "start" and fault.detail is not None]
    return any(
        _is_back(case, fault) or (not case.marks and _let_in(case, fault))
        for fault in starts
        if fault.server is ServerName.CACHE
    )


def _is_back(case: Case, fault: Faulted) -> bool:
    """The culprit found what had been deleted or replaced before the fault, and nobody had set it since."""
    hit = next(_hits(case), None)
    if case.read is None or hit is None or not fault.index < hit.index:
        return False
    value = case.read.value
    touched = [
        step
        for step in case.effects
        if step.index < hit.index and step.touches and (step.mentions(value) or not _only_looks(step))
    ]
    return bool(touched) and touched[-1].index < fault.index and not touched[-1].mentions(value)


def _hits(case: Case) -> Iterator[Step]:
    """What the cache answered the culprit with the value that it returned."""
    for step in case.effects:
        from_cache = step.exchange.server is ServerName.CACHE and step.operation == case.read
        if from_cache and case.read is not None and step.shows(case.read.value):
            yield step


def _only_looks(step: Step) -> bool:
    """A reader's script that does not mention the value has only asked for it."""
    return step.scripted and step.by_reader


def _let_in(case: Case, fault: Faulted) -> bool:
    """A late fill on a condition, which the cache had known to be void until the fault."""
    fill = case.fill
    if fill is None or not case.late_fill or not case.overtaken:
        return False
    guarded = fill.scripted or fill.conditional or bool(case.marks)
    return guarded and case.overtaken[-1].index < fault.index < fill.index


def _forgot_change(case: Case, fault: Faulted) -> bool:
    """An acknowledged write had told the cache alone."""
    own = [step for step in case.steps if step.operation == case.lost]
    if case.lost is None or not own or any(step.changes for step in own):
        return False
    return own[-1].index < fault.index < case.seen


def one_way_partition(case: Case) -> bool:
    """The writer was cut off from the cache and carried on, while others were not and went on reading."""
    if case.read is None or case.commit is None or case.writer is None:
        return False
    came = any(step.took_effect for step in case.touches(case.commit.index, case.seen))
    if came or case.writer.outcome is not Outcome.OK or not any(_hits(case)):
        return False
    everybody = range(case.history.processes)
    return any(
        not all(outage.covers(process, moment) for process in everybody) for moment, outage in case.cut_off
    )
