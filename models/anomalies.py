"""Gives a finding its name: which anomaly of the encyclopaedia the history shows.

A rule is a predicate over a case: the finding, and the few moments of the history that tell how it came
about.  For a value that was read although a newer one existed these are, in the notation of the rules,

    load      the SELECT that read it from the database        fill   the SET that put it into the cache
    commit    the commit that superseded it, and its writer    seen   the GET (or SELECT) of the culprit

Rules are tried from the most specific to the most general, so each may rely on those before it.  They are
made for minimal histories, in which every step is needed; a finding that no rule explains gets the general
name of what its property saw.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.encyclopaedia import ANOMALIES, Anomaly
from cacheproof.models.errors import UsageError
from cacheproof.models.event import Committed, Exchanged
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome
from cacheproof.models.register import Register, is_write, written
from cacheproof.models.trace import Step, acknowledges, delivers, mentioned, operation_at, pops, steps
from cacheproof.models.verdict import Finding

__all__ = ["ANOMALIES", "Anomaly", "anomaly", "classify"]


def anomaly(slug: str) -> Anomaly:
    """The entry of this name.  Raises UsageError, with the names closest to it, for any other."""
    if slug in ANOMALIES:
        return ANOMALIES[slug]
    close = get_close_matches(slug, ANOMALIES, n=3, cutoff=0.4)
    raise UsageError(
        f"unknown anomaly {slug!r}; {'did you mean' if close else 'choose from'} "
        f"{', '.join(close or sorted(ANOMALIES))}"
    )


def classify(finding: Finding, history: History) -> Anomaly:
    """The anomaly that explains `finding`, which a property found in `history`."""
    case = _Case(finding, history)
    slug = next((slug for slug, shows in _RULES if shows(case)), None)
    return ANOMALIES[slug or _GENERAL.get(finding.kind, "non-linearizable")]


_GENERAL = {
    "aborted": "dirty-read",
    "divergence": "divergence",
    "fabricated": "fabricated-value",
    "foreign": "fabricated-value",
    "lost-write": "lost-write",
    "non-linearizable": "non-linearizable",
    "premature": "fabricated-value",
    "stale-read": "stale-read",
    "staleness-beyond-bound": "staleness-beyond-bound",
    "uncommitted": "dirty-read",
}


@dataclass(frozen=True)
class _Case:
    """A finding and the moments of its history that rules ask for."""

    finding: Finding
    history: History

    @cached_property
    def register(self) -> Register:
        key = self.finding.key or ""
        commits = self.history.commits.get(key, ())
        return Register(key, self.history.initial.get(key), self.history.on_key(key), commits)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        return steps(self.history, self.finding.key)

    @cached_property
    def effects(self) -> tuple[Step, ...]:
        """The steps that the server carried out."""
        return tuple(step for step in self.steps if step.took_effect)

    @cached_property
    def read(self) -> Operation | None:
        """The culprit, if it is a read."""
        culprit = self.finding.culprit
        return culprit if culprit is not None and not is_write(culprit) else None

    @cached_property
    def seen(self) -> int:
        """Where the culprit got its value: its last look into cache or database; else its return, or the end."""
        end = len(self.history.events)
        if self.read is None:
            return end
        looks = [step.index for step in self.effects if step.operation == self.read and step.looks]
        return looks[-1] if looks else self.read.returned or end

    @cached_property
    def commit(self) -> Committed | None:
        """The commit that superseded what the culprit read."""
        return self.register.superseded(self.read.value, self.seen) if self.read else None

    @cached_property
    def writer(self) -> Operation | None:
        """The write of the superseding value; where several wrote it, the operation that committed it."""
        if self.commit is None:
            return None
        sources = self.register.wrote(self.commit.value)
        return sources[0] if len(sources) == 1 else self.committer(self.commit)

    def committer(self, commit: Committed) -> Operation | None:
        """The operation during which a version was committed."""
        return None if commit.process is None else operation_at(self.history, commit.process, commit.index)

    @cached_property
    def fill(self) -> Step | None:
        """The last SET before the culprit looked, of the value it read if requests are readable."""
        value = self.read.value if self.read else None
        sets = [step for step in self.effects if step.sets and step.index < self.seen]
        return next(iter([step for step in reversed(sets) if step.mentions(value)] or sets[::-1]), None)

    @cached_property
    def load(self) -> Step | None:
        """The SELECT whose row the fill put into the cache: the last before it in the same operation."""
        fill = self.fill
        if fill is None or not fill.by_reader:
            return None
        same = [s for s in self.effects if s.exchange.process == fill.exchange.process and s.loads]
        return next((s for s in same[::-1] if s.index < fill.index and s.operation == fill.operation), None)

    def touches(self, after: int, before: int) -> Iterator[Step]:
        """What writers and workers sent to the cache entry between two events, whether or not it arrived."""
        return (s for s in self.steps if after < s.index < before and s.touches and not s.by_reader)

    @cached_property
    def lost(self) -> Operation | None:
        """An acknowledged write that concerns the finding and was not committed when the culprit looked."""
        concerned = [op for op in (self.finding.culprit, *self.finding.because) if op and is_write(op)]
        if self.read is not None:
            concerned += self.register.sources(self.read.value)
        for write in concerned:
            committed = self.register.position(written(write), self.seen)
            if write.outcome is Outcome.OK and not committed:
                return write
        return None


# Write-behind: the change, not the invalidation, went astray.


def _pop_then_crash(case: _Case) -> bool:
    """A worker took the change off the queue, and it never arrived in the database."""
    if case.lost is None:
        return False
    since = [e for e in case.history.exchanges if case.lost.invoked < e.index < case.seen]
    taken = [e for e in since if pops(e)]
    if any(e.fate is Fate.REPLY_LOST or mentioned(case.lost.value, str(e.reply)) for e in taken):
        return True
    taken += [e for e in since if acknowledges(e) and _acknowledged_early(case, e)]
    return any(_crashed_with(case, e) for e in taken)


def _acknowledged_early(case: _Case, ack: Exchanged) -> bool:
    """True if the worker changed nothing in the database between the delivery of entries and this XACK."""
    before = [e for e in case.history.exchanges if e.process == ack.process and e.index < ack.index]
    delivery = next((e.index for e in reversed(before) if delivers(e)), -1)
    return not any(e.server is ServerName.DATABASE and e.index > delivery for e in before)


def _crashed_with(case: _Case, taken: Exchanged) -> bool:
    """True if the client crashed before it changed the record, with what it had taken in its hands."""
    crashes = (f for f in case.history.faults if f.fault == "crash" and f.process == taken.process)
    crash = next((fault.index for fault in crashes if fault.index > taken.index), None)
    changes = (s for s in case.effects if s.changes and s.exchange.process == taken.process)
    return crash is not None and not any(taken.index < step.index < crash for step in changes)


def _lost_write_behind(case: _Case) -> bool:
    if case.lost is None or any(step.changes and step.operation == case.lost for step in case.steps):
        return False
    kills = (f for f in case.history.faults if f.fault == "kill" and f.server is ServerName.CACHE)
    return any(case.lost.invoked < kill.index < case.seen for kill in kills)


def _flush_reorder(case: _Case) -> bool:
    """Workers committed two values in another order than their writes had reached the cache."""
    reached = []
    for commit in case.register.commits:
        flusher, sources = case.committer(commit), case.register.wrote(commit.value)
        if sources and (flusher is None or not is_write(flusher)):
            reached.append(_reached_cache(case, sources[0]))
    return reached != sorted(reached)


def _reached_cache(case: _Case, write: Operation) -> int:
    return next((s.index for s in case.effects if s.touches and s.operation == write), write.invoked)


def _dirty_write_through(case: _Case) -> bool:
    """The entry was set by a write that had not committed; not by a write-behind, which never means to."""
    if case.read is None:
        return False
    for write in case.register.wrote(case.read.value):
        own = [step for step in case.steps if step.operation == write]
        early = any(
            step.sets
            and step.took_effect
            and step.index < case.seen
            and case.register.position(case.read.value, step.index) is None
            for step in own
        )
        if early and (write.outcome is not Outcome.OK or any(step.changes for step in own)):
            return True
    return False


# A fill that came too late: the value was loaded before the commit, and cached after the invalidation.


def _late_fill(case: _Case) -> bool:
    commit, fill, load = case.commit, case.fill, case.load
    return bool(commit and fill and load and load.index < commit.index < fill.index)


def _staleness_beyond_ttl(case: _Case) -> bool:
    if case.finding.property != "bounded-staleness" or not _late_fill(case):
        return False
    return case.fill is not None and case.load is not None and case.fill.at_s > case.load.at_s


def _early_delete(case: _Case) -> Step | None:
    """The DEL by which the writer invalidated before its commit, if that was all it did, and was filled over."""
    commit, fill, load = case.commit, case.fill, case.load
    if not (commit and fill and load and load.index < commit.index):
        return None
    own = [s for s in case.steps if s.deletes and not s.by_reader and s.operation == case.writer]
    if any(step.index > commit.index for step in own):
        return None
    return next((s for s in own if s.took_effect and s.index < fill.index), None)


def _invalidate_before_commit(case: _Case) -> bool:
    early = _early_delete(case)
    changes = (s for s in case.effects if s.changes and s.operation == case.writer)
    return early is not None and any(step.index < early.index for step in changes)


def _pre_delete_race(case: _Case) -> bool:
    return _early_delete(case) is not None


def _overtaken(case: _Case) -> list[Step]:
    """What writers did to the entry between the commit and the fill of the older value."""
    if case.commit is None or case.fill is None:
        return []
    return [s for s in case.touches(case.commit.index, case.fill.index) if s.took_effect]


def _fill_over_write_through(case: _Case) -> bool:
    return _late_fill(case) and any(step.sets and not step.deletes for step in _overtaken(case))


def _stale_set(case: _Case) -> bool:
    return _late_fill(case) and any(step.deletes for step in _overtaken(case))


def _write_through_reorder(case: _Case) -> bool:
    by_other_writer = case.fill and not case.fill.by_reader and case.fill.operation != case.writer
    return bool(by_other_writer) and any(step.sets for step in _overtaken(case))


# An invalidation that came late, or not at all.


def _lost_invalidation(case: _Case) -> bool:
    if case.commit is None:
        return False
    sent = list(case.touches(case.commit.index, case.seen))
    return bool(sent) and not any(step.took_effect for step in sent)


def _crash_before_invalidation(case: _Case) -> bool:
    """The write ended without an ok, by a crash or an error, and had not touched the entry since its commit."""
    if case.commit is None or any(case.touches(case.commit.index, case.seen)):
        return False
    return case.writer is not None and case.writer.outcome is not Outcome.OK


def _commit_window(case: _Case) -> bool:
    """The invalidation came, but after the culprit had looked."""
    if case.commit is None or any(case.touches(case.commit.index, case.seen)):
        return False
    return any(case.touches(case.seen, len(case.history.events)))


def _no_invalidation(case: _Case) -> bool:
    if case.writer is None or case.writer.outcome is not Outcome.OK:
        return False
    asked = (e for e in case.history.exchanges if e.server is ServerName.CACHE)
    return all(operation_at(case.history, e.process, e.index) != case.writer for e in asked)


_RULES: tuple[tuple[str, Callable[[_Case], bool]], ...] = (
    ("pop-then-crash", _pop_then_crash),
    ("lost-write-behind", _lost_write_behind),
    ("flush-reorder", _flush_reorder),
    ("dirty-write-through", _dirty_write_through),
    ("staleness-beyond-ttl", _staleness_beyond_ttl),
    ("invalidate-before-commit", _invalidate_before_commit),
    ("pre-delete-race", _pre_delete_race),
    ("fill-over-write-through", _fill_over_write_through),
    ("stale-set", _stale_set),
    ("write-through-reorder", _write_through_reorder),
    ("lost-invalidation", _lost_invalidation),
    ("crash-before-invalidation", _crash_before_invalidation),
    ("commit-window", _commit_window),
    ("no-invalidation", _no_invalidation),
)
