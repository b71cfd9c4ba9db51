"""Quiet warm-up: what warms a cache, or shadows its traffic, writes nothing to the database.

Operations of the methods in `QUIET` ("warm_up", "shadow_read", …) may read whatever they like.  A statement
that changes rows or tables breaks the promise, delivered or not, and so does a version that became visible
through an exchange of theirs, whatever the statement looked like (a function, a procedure):

    A: |--<warm_up>: SELECT, SET, UPDATE--|        warm-up-writes, at the UPDATE

A SELECT … FOR UPDATE locks, and writes nothing.  What a CALL or a DO does cannot be seen in its text: if
nothing became visible through it, a doubt remains.  A SELECT that calls a function which writes to a table of
the user's own, out of the harness's sight, is beyond this property.  So are writes to a live cache: a warm-up
writes to a cache by definition, and which one is live the history does not say.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from cacheproof.models.decision import ServerName
from cacheproof.models.event import Committed, Exchanged
from cacheproof.models.history import History
from cacheproof.models.operation import Operation
from cacheproof.models.register import identity, is_write, operations_on, written
from cacheproof.models.trace import Step, operation_at
from cacheproof.models.verdict import Finding, Judgement

__all__ = ["QUIET", "QuietWarmUp", "is_quiet"]

QUIET = ("shadow", "warm_up")
"""How the names of the methods begin that must not write."""

_REDEFINES = frozenset({"ALTER", "CREATE", "DROP", "REFRESH", "TRUNCATE"})
_OPAQUE = frozenset({"CALL", "COPY", "DO", "EXECUTE", "WITH"})
"""Verbs of statements that may write, for all that can be seen."""


def is_quiet(operation: Operation) -> bool:
    """True for a warm-up, and for shadow traffic."""
    return operation.f.startswith(QUIET)


@dataclass(frozen=True, slots=True)
class QuietWarmUp:
    """A warm-up or shadow operation issues no database write."""

    @property
    def name(self) -> str:
        return "quiet-warm-up"

    @property
    def probes_s(self) -> tuple[float, ...]:
        return ()

    def check(self, history: History) -> Judgement:
        """One finding "warm-up-writes" for each such operation that wrote.

        `at` are the exchanges that wrote, `versions` what became visible through them.  Judges warm-up and
        shadow operations, whatever became of them.  Unknown if one called what may write.
        """
        quiet = [operation for operation in history.operations if is_quiet(operation)]
        results = [self._judge(history, operation) for operation in quiet]
        return Judgement(
            findings=tuple(found for found in results if isinstance(found, Finding)),
            judged=len(quiet),
            unknown=next((found for found in results if isinstance(found, str)), None),
        )

    def _judge(self, history: History, operation: Operation) -> Finding | str | None:
        """A finding, None if all is well, or a doubt in words."""
        made = tuple(_exchanges(history, operation))
        versions = {item.index: _made_visible(history, item) for item in made}
        wrote = tuple(item for item in made if _writes(item, operation) or versions[item.index])
        if not wrote:
            opaque = next((item for item in made if _verbs(item) & _OPAQUE), None)
            return f"{operation.f} sent {opaque.verb}, which may write" if opaque else None
        named = (key for item in wrote for key in item.keys)
        return Finding(
            property=self.name,
            kind="warm-up-writes",
            key=next(named, None) if operation.key is None else operation.key,
            culprit=operation,
            versions=tuple(version for item in wrote for version in versions[item.index]),
            at=tuple(item.index for item in wrote),
        )


def _exchanges(history: History, operation: Operation) -> Iterator[Exchanged]:
    """The database exchanges of an operation, including what goes on after it ended in doubt."""
    for exchange in history.exchanges:
        asked = exchange.process == operation.process and exchange.server is ServerName.DATABASE
        if asked and operation_at(history, exchange.process, exchange.index) == operation:
            yield exchange


def _writes(exchange: Exchanged, operation: Operation) -> bool:
    """True if the statement changes rows or tables; of one that had to wait, its request counts."""
    changes = Step(exchange, operation).changes or bool(_verbs(exchange) & _REDEFINES)
    return changes and not exchange.waited


def _made_visible(history: History, exchange: Exchanged) -> tuple[Committed, ...]:
    """The versions that came with an exchange and that no other operation had written."""
    found: list[Committed] = []
    for event in history.events[exchange.index + 1 :]:
        if not (isinstance(event, Committed) and event.process == exchange.process):
            break
        if not any(_wrote(operation, event) for operation in operations_on(history, event.key)):
            found.append(event)
    return tuple(found)


def _wrote(operation: Operation, version: Committed) -> bool:
    return is_write(operation) and identity(written(operation)) == identity(version.value)


def _verbs(exchange: Exchanged) -> frozenset[str]:
    return frozenset(part.split()[0] for part in exchange.verb.split(";") if part.strip())
