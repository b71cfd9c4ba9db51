"""Convergence: once everything has come to rest, the cache and the database agree.

The epilogue of a run heals all faults, lets every operation end, and enters the phase `quiesce`.  From
`within_s` virtual seconds later on, each final read must return what the database holds at the end.

Convergence is about the end alone: how wrong reads were on the way there is for other properties to say.  It
needs to know what the database holds, not who wrote it, so it judges counters as well as registers.
"""

from dataclasses import dataclass

from cacheproof.models.errors import UsageError
from cacheproof.models.event import Entered, Phase
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome
from cacheproof.models.register import Register, add_judgements, identity, registers
from cacheproof.models.verdict import Finding, Judgement

__all__ = ["FOREVER_S", "Convergence"]

FOREVER_S = 86_400.0
"""One virtual day: when to look whether a cache without a time to live has converged.

Nothing changes any more by then: longer waits would only expire what was claimed never to expire.
"""

_JUST_AFTER_S = 0.001
"""An entry that lives for 300 s may still be served at 300 s sharp: the look is a millisecond later."""

_TOLERANCE_S = 1e-6  # virtual seconds are sums of floats, and a probe must not miss by rounding


@dataclass(frozen=True, slots=True)
class Convergence:
    """`within_s` virtual seconds after quiescence, reads return what the database holds.

    None means without help from a time to live: the cache converges although nothing ever expires.
    """

    within_s: float | None

    def __post_init__(self) -> None:
        if self.within_s is not None and not self.within_s >= 0:
            raise UsageError(f"convergence within {self.within_s!r}; write 0 or more seconds, or None")

    @property
    def name(self) -> str:
        return "convergence"

    @property
    def probes_s(self) -> tuple[float, ...]:
        if self.within_s is None:
            return (FOREVER_S,)
        return (self.within_s + _JUST_AFTER_S if self.within_s else 0.0,)

    def check(self, history: History) -> Judgement:
        """One finding "divergence" for each final read that disagrees with the database.

        Judges final reads of keys that somebody wrote.  A final read that did not return ok leaves the
        verdict unknown.
        """
        start = next((e for e in history.events if isinstance(e, Entered) and e.phase is Phase.QUIESCE), None)
        if start is None:
            return Judgement(unknown="the run never came to rest, so nothing can be said of the end")
        within_s = FOREVER_S if self.within_s is None else self.within_s
        due_s = start.at_s + within_s - _TOLERANCE_S
        return add_judgements(self._judge(register, start.index, due_s) for register in registers(history))

    def _judge(self, register: Register, quiet: int, due_s: float) -> Judgement:
        reads = [
            op
            for op in register.operations
            if op.f == "read" and op.final and op.invoked > quiet and op.invoked_s >= due_s
        ]
        seen = [op for op in reads if op.outcome is Outcome.OK]
        wrong = [op for op in seen if identity(op.value) != identity(register.final)]
        touched = bool(register.writes or register.commits or wrong)
        return Judgement(
            findings=tuple(self._finding(register, read) for read in wrong),
            judged=len(seen) if touched else 0,
            unknown=next((_doubt(op) for op in reads if op.outcome is not Outcome.OK), None),
        )

    def _finding(self, register: Register, read: Operation) -> Finding:
        return Finding(
            property=self.name,
            kind="divergence",
            key=register.key,
            culprit=read,
            because=register.sources(register.final),
            versions=register.versions(read.value, register.final),
            stale_s=register.stale_s(read),
        )


def _doubt(read: Operation) -> str:
    return f"a final read of {read.key!r} ended {read.outcome.value}: {read.error}"
