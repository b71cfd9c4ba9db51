"""Durability: no acknowledged write is lost.

At the end of a run the database holds one value of each key.  An acknowledged write is lost if that value is
certainly older: all of its sources had returned before the write was invoked.

        A: |--w1--|  |--w2--|         db: 1        w2 is lost: only w1 or the initial record remain
        A: |--w1--|  |--w2--|         db: 2        w1 was superseded, as it should be
        A: |--w1--|  |--w2--|         db: 2   1    w2 was there, and a late flush of w1 took it away
        A: |----w1----|               db: 1        either may win: the order of concurrent writes is free,
        B:      |----w2----|                       and a flush may leave out what is superseded anyway

A write that ended `info` may take effect at any later time: where its value is the last one, it may well have
been the last write.
"""

from dataclasses import dataclass

from cacheproof.models.event import Phase
from cacheproof.models.history import History
from cacheproof.models.operation import Operation
from cacheproof.models.register import Register, judge_registers
from cacheproof.models.verdict import Finding, Judgement

__all__ = ["Durability"]


@dataclass(frozen=True, slots=True)
class Durability:
    """Every acknowledged write is in the database at the end, or was superseded by one that is not older."""

    @property
    def name(self) -> str:
        return "durability"

    @property
    def probes_s(self) -> tuple[float, ...]:
        return (0.0,)

    def check(self, history: History) -> Judgement:
        """One finding "lost-write" for each acknowledged write that is lost.  Judges acknowledged writes.

        Unknown if the run never came to rest, since what is missing may still be on its way, and if the
        database holds a value that no operation wrote.
        """
        quiet = history.phase_start(Phase.QUIESCE) is not None
        return judge_registers(history, lambda register: self._judge(register, quiet))

    def _judge(self, register: Register, quiet: bool) -> Judgement:
        # A write that "certainly did not happen" counts as well if its value is in the database: it did.
        sources = register.wrote(register.final)
        if not sources and not register.is_initial(register.final):
            return Judgement(unknown=f"the database holds {register.final!r}, which no operation wrote")
        lost = [write for write in register.acknowledged if all(op.precedes(write) for op in sources)]
        if lost and not quiet:
            return Judgement(unknown="the run never came to rest: what is missing may still be on its way")
        findings = tuple(self._finding(register, write) for write in lost)
        return Judgement(findings, len(register.acknowledged))

    def _finding(self, register: Register, write: Operation) -> Finding:
        return Finding(self.name, "lost-write", register.key, culprit=write, versions=register.commits)
