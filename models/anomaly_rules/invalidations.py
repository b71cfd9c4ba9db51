"""Sets and invalidations by writers that came in another order, late, in vain, or not at all."""

from cacheproof.models.anomaly_rules.case import Case
from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.event import Exchanged
from cacheproof.models.operation import Outcome
from cacheproof.models.trace import Step, commands, delivers, operation_at, publishes

__all__ = [
    "ambiguous_commit",
    "commit_window",
    "competing_consumers",
    "crash_before_invalidation",
    "dirty_write_through",
    "dual_write_gap",
    "group_clear_race",
    "lost_invalidation",
    "missed_notification",
    "no_invalidation",
    "refresh_never_lands",
    "response_desync",
    "version_inversion",
    "version_reset",
    "write_through_reorder",
]

_LISTS_KEYS = frozenset({"KEYS", "SCAN"})
_CONSUMES = frozenset({"BLMOVE", "BLPOP", "BRPOP", "XAUTOCLAIM", "XREAD", "XREADGROUP"})


def response_desync(case: Case) -> bool:
    """The client of the culprit had asked for another key, was answered this value, and had given that up."""
    if case.finding.kind != "foreign" or case.read is None:
        return False
    own = [e for e in case.history.exchanges if e.process == case.read.process and e.index < case.seen]
    return any(_abandoned(case, exchange) for exchange in own if case.finding.key not in exchange.keys)


def _abandoned(case: Case, exchange: Exchanged) -> bool:
    asked = operation_at(case.history, exchange.process, exchange.index)
    told = case.read is not None and Step(exchange, asked).looks and Step(exchange, asked).found
    return told and asked != case.read and (asked is None or asked.outcome is not Outcome.OK)


def dirty_write_through(case: Case) -> bool:
    """The entry was set by a write that had not committed; not by a write-behind, which never means to."""
    if case.read is None:
        return False
    for write in case.register.wrote(case.read.value):
        own = [step for step in case.steps if step.operation == write]
        early = any(
            step.sets
            and step.mentions(case.read.value)
            and step.took_effect
            and step.index < case.seen
            and case.register.position(case.read.value, step.index) is None
            for step in own
        )
        if early and (write.outcome is not Outcome.OK or any(step.changes for step in own)):
            return True
    return False


def write_through_reorder(case: Case) -> bool:
    by_other_writer = case.fill and not case.fill.by_reader and case.fill.operation != case.writer
    return bool(by_other_writer) and any(step.sets for step in case.overtaken)


def refresh_never_lands(case: Case) -> bool:
    """A reader loaded what is newer, and its set was refused because the old entry is there."""
    return case.commit is not None and any(
        step.by_reader and step.sets and step.refused and step.index > case.commit.index
        for step in case.steps
    )


def _refused_as_old(case: Case) -> bool:
    """A script was offered the committed value, and answered that it did not take it."""
    commit = case.commit
    return commit is not None and any(
        step.scripted
        and commit.index < step.index < case.seen
        and step.exchange.fate is Fate.DELIVERED
        and step.exchange.reply in (0, None)
        and step.mentions(case.register.commits[-1].value)
        for step in case.steps
    )


def version_reset(case: Case) -> bool:
    """The row was deleted and inserted anew since the version that the cache holds on to."""
    if case.read is None or case.commit is None or not _refused_as_old(case):
        return False
    since = [commit for commit in case.register.commits if commit.index >= case.commit.index]
    return any(commit.value is None for commit in since[:-1])


def version_inversion(case: Case) -> bool:
    return _refused_as_old(case)


def missed_notification(case: Case) -> bool:
    """The writer published its change after the commit, and nobody was listening."""
    if case.writer is None or case.commit is None or any(case.touches(case.commit.index, case.seen)):
        return False
    process = case.writer.process
    return any(
        exchange.process == process
        and case.commit.index < exchange.index < case.seen
        and exchange.reply == 0
        and any(command[0] == "PUBLISH" for command in commands(exchange))
        for exchange in case.history.exchanges
    )


def competing_consumers(case: Case) -> bool:
    """The culprit served a copy of its own; the event went to another consumer of the same group."""
    if case.read is None or case.commit is None:
        return False
    if any(step.operation == case.read and step.found for step in case.steps):
        return False
    since = [e for e in case.history.exchanges if e.index > case.commit.index and case.finding.key in e.keys]
    given = {e.process: _groups(e) for e in since if delivers(e) and e.index < case.seen}
    own = {group for e in case.history.exchanges if e.process == case.read.process for group in _groups(e)}
    return case.read.process not in given and any(not own.isdisjoint(groups) for groups in given.values())


def _groups(exchange: Exchanged) -> frozenset[str]:
    """The consumer groups that an exchange reads in."""
    told = [
        command for command in commands(exchange) if command[0] == "XREADGROUP" and "GROUP" in command[:-1]
    ]
    return frozenset(command[command.index("GROUP") + 1] for command in told)


def lost_invalidation(case: Case) -> bool:
    """What was sent never took effect; or the writer could not send anything to the cache, and carried on."""
    if case.commit is None:
        return False
    sent = list(case.touches(case.commit.index, case.seen))
    carried_on = case.writer is not None and case.writer.outcome is Outcome.OK
    tried = bool(sent) or (carried_on and bool(case.cut_off))
    return tried and not any(step.took_effect for step in sent)


def group_clear_race(case: Case) -> bool:
    """The writer listed the keys of a group, and what it then deleted left this entry out."""
    writer = case.writer
    if writer is None or case.commit is None or any(case.touches(case.commit.index, case.seen)):
        return False
    return any(
        case.commit.index < exchange.index < case.seen
        and any(command[0] in _LISTS_KEYS for command in commands(exchange))
        and operation_at(case.history, exchange.process, exchange.index) == writer
        for exchange in case.history.exchanges
    )


def dual_write_gap(case: Case) -> bool:
    """The write ended before it had published anything, where consumers wait for what is published."""
    if case.writer is None or not crash_before_invalidation(case):
        return False
    exchanges = case.history.exchanges
    sent = any(
        e.process == case.writer.process and publishes(e) and _within(case, e.index) for e in exchanges
    )
    consumed = any(command[0] in _CONSUMES for e in exchanges for command in commands(e))
    return consumed and not sent


def _within(case: Case, index: int) -> bool:
    return case.commit is not None and case.commit.index < index < case.seen


def ambiguous_commit(case: Case) -> bool:
    """The database committed, and the reply to the writer was lost."""
    commit = case.commit
    if commit is None or commit.process is None or not crash_before_invalidation(case):
        return False
    asked = [e for e in case.history.exchanges if e.process == commit.process and e.index < commit.index]
    last = next((e for e in reversed(asked) if e.server is ServerName.DATABASE), None)
    return last is not None and last.fate is Fate.REPLY_LOST


def crash_before_invalidation(case: Case) -> bool:
    """The write ended without an ok, by crash or error, and had not touched the entry since its commit."""
    if case.commit is None or any(case.touches(case.commit.index, case.seen)):
        return False
    return case.writer is not None and case.writer.outcome is not Outcome.OK


def commit_window(case: Case) -> bool:
    """The invalidation came, but after the culprit had looked."""
    if case.commit is None or any(case.touches(case.commit.index, case.seen)):
        return False
    return any(case.touches(case.seen, case.end))


def no_invalidation(case: Case) -> bool:
    if case.writer is None or case.writer.outcome is not Outcome.OK:
        return False
    asked = (e for e in case.history.exchanges if e.server is ServerName.CACHE)
    return all(operation_at(case.history, e.process, e.index) != case.writer for e in asked)
