"""Round trips: how many exchanges an operation costs.

Counted are the exchanges of the client between the invocation and the return of an ok operation, each a
request that was delivered with its reply; what is sent at once (a pipeline, MULTI … EXEC) is as many as the wire
took it for.  A request that the server keeps waiting counts once, when its reply comes before the return:

    A: |--w1: UPDATE, DEL--|        2 round trips, 1 of them with the database

What passes the wire without a decision (connection set-up, BEGIN, SET) is not on record, so the count is a
lower bound.  Exchanges outside operations do not count; but a client that makes them after its start has
something running in the background, whose exchanges cannot be told from those of an operation that is open:
then a count above the bound proves nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median

from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.errors import UsageError
from cacheproof.models.event import Exchanged, Faulted, Invoked, Returned
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome
from cacheproof.models.verdict import Finding, Judgement

__all__ = ["RoundTrips", "Spread", "round_trips", "spreads"]


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """An ok operation `f` makes at most `at_most` exchanges: with `server` ("cache", "database"), or in all."""

    at_most: int
    f: str
    server: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.at_most, int) or isinstance(self.at_most, bool) or self.at_most < 0:
            raise UsageError(f"at most {self.at_most!r} round trips; write a whole number, 0 or more")
        if not self.f or not isinstance(self.f, str):
            raise UsageError(f"round trips of {self.f!r}; write the name of a method, such as 'read'")
        if self.server is not None and self.server not in list(ServerName):
            raise UsageError(
                f"round trips with {self.server!r}; write one of {', '.join(ServerName)}, or None for both"
            )

    @property
    def name(self) -> str:
        return "round-trips"

    @property
    def probes_s(self) -> tuple[float, ...]:
        return ()

    def check(self, history: History) -> Judgement:
        """One finding "too-many-round-trips" for each operation above the bound; `at` are its exchanges.

        Judges ok operations with this method.  Unknown if one is above the bound, but its client has
        something running in the background.
        """
        findings: list[Finding] = []
        judged, unknown, busy = 0, None, _busy(history)
        for operation, made in _made(history, self.server):
            if operation.f != self.f:
                continue
            if len(made) > self.at_most and operation.process in busy:
                unknown = unknown or (
                    f"{self.f} made {len(made)} exchanges, but its client also makes some in the background"
                )
                continue
            judged += 1
            if len(made) > self.at_most:
                findings.append(self._finding(operation, made))
        return Judgement(tuple(findings), judged, unknown)

    def _finding(self, operation: Operation, made: tuple[Exchanged, ...]) -> Finding:
        return Finding(
            property=self.name,
            kind="too-many-round-trips",
            key=operation.key,
            culprit=operation,
            at=tuple(exchange.index for exchange in made),
            found=len(made),
            allowed=(None, self.at_most),
        )


@dataclass(frozen=True, slots=True)
class Spread:
    """How many round trips `count` operations made: the fewest, the median, the most."""

    count: int
    least: int
    median: float
    most: int


def spreads(histories: Iterable[History], server: ServerName | None = None) -> Mapping[str, Spread]:
    """The round trips of ok operations, method by method in alphabetical order."""
    found: dict[str, list[int]] = {}
    for history in histories:
        for operation, made in _made(history, server):
            found.setdefault(operation.f, []).append(len(made))
    return {
        f: Spread(len(counts), min(counts), median(counts), max(counts))
        for f, counts in sorted(found.items())
    }


def round_trips(history: History, operation: Operation, server: str | None = None) -> tuple[Exchanged, ...]:
    """The exchanges that `operation` made with `server` (None: with both), in order of their replies.

    Of an operation that has not returned: those up to the end of the history.
    """
    end = len(history.events) if operation.returned is None else operation.returned
    inside = [
        exchange
        for exchange in history.exchanges
        if exchange.process == operation.process and operation.invoked < exchange.index < end
    ]
    return tuple(_answered(inside, server))


def _made(history: History, server: str | None) -> Iterator[tuple[Operation, tuple[Exchanged, ...]]]:
    for operation in history.operations:
        if operation.outcome is Outcome.OK:
            yield operation, round_trips(history, operation, server)


def _answered(exchanges: Iterable[Exchanged], server: str | None) -> Iterator[Exchanged]:
    """Those that got a reply, at its event; not the reply to a request from before."""
    waiting: list[tuple[ServerName, tuple[str, ...]]] = []
    for exchange in exchanges:
        request = (exchange.server, exchange.request)
        if exchange.waits:
            waiting.append(request)
            continue
        if exchange.waited:
            if request not in waiting:
                continue
            waiting.remove(request)
        if exchange.fate is Fate.DELIVERED and server in (None, exchange.server):
            yield exchange


def _busy(history: History) -> frozenset[int]:
    """The clients that made an exchange between two operations; what a client says as it starts is none."""
    started: set[int] = set()
    inside: set[int] = set()
    found: set[int] = set()
    for event in history.events:
        if isinstance(event, Invoked):
            started.add(event.process)
            inside.add(event.process)
        elif isinstance(event, Returned):
            inside.discard(event.process)
        elif isinstance(event, Faulted) and event.fault in ("crash", "restart"):
            started.discard(-1 if event.process is None else event.process)
        elif isinstance(event, Exchanged) and event.process in started - inside:
            found.add(event.process)
    return frozenset(found)
