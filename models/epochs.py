"""Epochs: between which events one load of a key has to be enough, and which loads there were.

The run of a key is cut into epochs, at every event that voids the entry in the cache or gives a good reason
to load it again:

    expire k  |A: GET nil, SELECT, SET|                              one load
              |B: GET nil,               SELECT, SET|                and one too many: B could have waited
    expire k  |B: GET nil, SELECT, SET|                              a new epoch, a new load

Rule 1  A load is a SELECT of the row that was answered, by a read (or a warm-up, or something that runs
        outside of operations).  To take an advisory lock is not to load.
Rule 2  An epoch ends when
            the cache expires or evicts the entry, is killed, started, flushed, or harmed in any other way;
            a version of the key is committed, or a write of the key begins or ends;
            anybody but a reader changes the key in the cache (or changes something there that names no key:
            a generation, a flag);
            a load may have come to nothing: its operation failed, or its client had an exchange that failed,
            or died, before it began its next operation;
            with a lifetime given, the epoch has lasted for that long.
        What readers themselves do to the entry ends nothing.
Rule 3  The expiry of a lock voids no entry.  A lock is what a reader sets with NX before it loads; who loads
        again because it ran out under a slow loader is one too many.  (A lock that was taken by a script
        cannot be told from an entry: its expiry ends the epoch.)
Rule 4  While the cache is down, or a write of the key is open, loads are free: nothing can be kept.  Those of
        a process whose last word with the cache was an error are left out.
Rule 5  A decision to load may be older than the load: as old as the first exchange of its operation, or, for
        what a process loads outside of operations, as old as the process.

Every rule errs on the side of more epochs and fewer loads.  What is not on the wire is not seen: that an
entry ends by a deadline inside its value, by early refresh, or as a copy inside a process.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.event import Committed, Event, Exchanged, Faulted, Invoked, Returned
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome
from cacheproof.models.trace import Step, acknowledges, delivers, pops

__all__ = ["Epochs", "Ledger", "Load", "ledgers"]


@dataclass(frozen=True, slots=True)
class Load:
    """A load at event `index`, decided on at event `since` (-1: before the first) or later.

    `operation` is None if it was made outside of operations.
    """

    since: int
    index: int
    process: int
    operation: Operation | None


@dataclass(frozen=True, slots=True)
class _Cut:
    """The end of an epoch at event `index`; in the one that begins, loads may be free."""

    index: int
    free: bool


@dataclass(frozen=True, slots=True)
class Epochs:
    """`starts` are the events at which epochs begin; `free_before[n]` counts the free ones among the first n.

    The first epoch begins before the first event, at -1.
    """

    starts: Sequence[int]
    free_before: Sequence[int]

    def at(self, index: int) -> int:
        """The number of the epoch that event `index` is in; it is in the one that it begins."""
        return bisect_right(self.starts, index) - 1

    def any_free(self, first: int, last: int) -> bool:
        """True if loads are free in one of these epochs."""
        return self.free_before[last + 1] > self.free_before[first]


@dataclass(slots=True)
class Ledger:
    """What is known of one key: the ends of its epochs, its loads, and the processes that are writing it."""

    cuts: list[_Cut] = field(default_factory=lambda: [_Cut(-1, False)])
    loads: list[Load] = field(default_factory=list)
    writers: set[int] = field(default_factory=set)

    def epochs(self, events: Sequence[Event], lifetime_s: float | None) -> Epochs:
        """The epochs of this key in the history with these events."""
        cuts = sorted(self.cuts, key=lambda cut: cut.index)
        if lifetime_s is not None:
            cuts = list(_aged(cuts, [event.at_s for event in events], lifetime_s))
        free = [0]
        for cut in cuts:
            free.append(free[-1] + cut.free)
        return Epochs([cut.index for cut in cuts], free)


def _aged(cuts: Sequence[_Cut], times: Sequence[float], lifetime_s: float) -> Iterator[_Cut]:
    """The cuts, and one more whenever an epoch has lasted for `lifetime_s`."""
    for cut, end in zip(cuts, [*(cut.index for cut in cuts[1:]), len(times)], strict=True):
        yield cut
        at = cut.index
        while at < end > 0 and (at := max(at + 1, bisect_left(times, times[max(at, 0)] + lifetime_s))) < end:
            yield _Cut(at, cut.free)


def ledgers(history: History, *, absent: bool = True, processes_end: bool = False) -> Mapping[str, Ledger]:
    """The ledger of each key.

    `absent`: loads that found no row are loads.  `processes_end`: the crash or start of a process ends the
    epochs of all keys as well, since its own copies are gone.
    """
    return _Walk(history, absent=absent, processes_end=processes_end).ledgers


@dataclass(frozen=True, slots=True)
class _Guess:
    """The expiry of what may be a lock: an epoch of `key` ends, unless `taker` loads it after `taken`."""

    key: str
    cut: _Cut
    taker: Operation
    taken: int


class _Walk:
    """One pass over a history, which fills the ledgers of all keys."""

    def __init__(self, history: History, *, absent: bool, processes_end: bool) -> None:
        named = (key for exchange in history.exchanges for key in exchange.keys)
        keys = dict.fromkeys((*history.initial, *history.commits, *named))
        self.ledgers = {key: Ledger() for key in keys}
        self._absent, self._processes_end = absent, processes_end
        self._everybody = range(history.processes)
        self._calls = {operation.invoked: operation for operation in history.operations}
        self._current: dict[int, Operation] = {}
        self._since: dict[int, int] = {}  # the first exchange of the current operation
        self._born: dict[int, int] = {}
        self._deaf: set[int] = set()  # whose last word with the cache was an error
        self._loaded: dict[int, set[str]] = {}  # what each process loaded in its current operation
        self._aside: dict[int, set[str]] = {}  # and outside of any
        self._locks: dict[str, tuple[Operation, int]] = {}
        self._selects: dict[tuple[int, str], int] = {}  # the last SELECT of each operation, by key
        self._guesses: list[_Guess] = []
        self._down = False
        for event in history.events:
            self._take(event)
        self._settle_guesses()

    def _take(self, event: Event) -> None:
        match event:
            case Exchanged():
                self._since.setdefault(event.process, event.index)
                if not event.waits:
                    self._exchange(event)
            case Invoked():
                self._invoke(event)
            case Returned() if event.process in self._current:
                self._return(event)
            case Committed():
                self._cut(event.index, [event.key])
            case Faulted(fault="crash" | "restart", process=int(process)):
                self._bury(event, process)
            case Faulted():
                self._harm(event)

    def _cut(self, index: int, keys: Iterable[str]) -> None:
        for key in keys:
            self.ledgers[key].cuts.append(self._new_cut(index, self.ledgers[key]))

    def _new_cut(self, index: int, ledger: Ledger) -> _Cut:
        return _Cut(index, self._down or bool(ledger.writers))

    # -- operations

    def _invoke(self, event: Invoked) -> None:
        operation = self._current[event.process] = self._calls[event.index]
        self._since.pop(event.process, None)
        self._loaded.pop(event.process, None)
        for key in self._written(operation):
            self.ledgers[key].writers.add(event.process)
            self._cut(event.index, [key])

    def _return(self, event: Returned) -> None:
        operation = self._current[event.process]
        self._end_writing(event.index, operation)
        if event.outcome is not Outcome.OK:
            self._cut(event.index, self._hopes(event.process))
        if event.outcome is not Outcome.INFO:  # what is left of one that ended info may still happen
            del self._current[event.process]

    def _end_writing(self, index: int, operation: Operation) -> None:
        for key in self._written(operation):
            self.ledgers[key].writers.discard(operation.process)
            self._cut(index, [key])

    def _written(self, operation: Operation) -> tuple[str, ...]:
        """The keys that an operation may write: its own, or any if it names none."""
        if operation.f.startswith(("read", "warm", "work")):
            return ()
        if operation.key is None:
            return tuple(self.ledgers)
        return (operation.key,) if operation.key in self.ledgers else ()

    def _hopes(self, process: int) -> set[str]:
        """The keys that a process has loaded and may not have stored yet."""
        return self._loaded.get(process, set()) | self._aside.get(process, set())

    # -- faults

    def _bury(self, event: Faulted, process: int) -> None:
        self._cut(event.index, self.ledgers if self._processes_end else self._hopes(process))
        self._loaded.pop(process, None)
        self._aside.pop(process, None)
        self._deaf.discard(process)
        self._born[process] = event.index
        if operation := self._current.pop(process, None):
            self._end_writing(event.index, operation)

    def _harm(self, event: Faulted) -> None:
        """Whatever happens to the cache, or to somebody's way to it."""
        if event.fault == "advance":
            return
        if isinstance(event.detail, str) and self._guess(event, event.detail):
            return
        if event.fault in ("kill", "start") and event.server is ServerName.CACHE:
            self._down = event.fault == "kill"
            self._deaf.update(self._everybody if self._down else ())
        if event.process is not None:
            self._deaf.add(event.process)
        self._cut(event.index, self._concerned(event.detail))

    def _concerned(self, detail: object) -> Iterable[str]:
        """The keys whose entry this may be; all of them if none is named."""
        return [key for key in self.ledgers if isinstance(detail, str) and key in detail] or self.ledgers

    def _guess(self, event: Faulted, name: str) -> bool:
        """Whether `name` may be a lock whose holder has not returned; that is settled in the end."""
        taker, taken = self._locks.get(name, (None, 0))
        if taker is None or self._current.get(taker.process) is not taker:
            return False
        for key in self._concerned(name):
            self._guesses.append(_Guess(key, self._new_cut(event.index, self.ledgers[key]), taker, taken))
        return True

    def _settle_guesses(self) -> None:
        for guess in self._guesses:
            if self._selects.get((guess.taker.invoked, guess.key), -1) < guess.taken:
                self.ledgers[guess.key].cuts.append(guess.cut)

    # -- exchanges

    def _exchange(self, event: Exchanged) -> None:
        step = Step(event, self._current.get(event.process))
        if _failed(event):
            self._cut(event.index, self._hopes(event.process))
        if event.server is ServerName.CACHE:
            (self._deaf.add if _failed(event) else self._deaf.discard)(event.process)
            self._note_lock(step)
            if _voids(step):
                self._cut(event.index, [key for key in event.keys if key in self.ledgers] or self.ledgers)
        elif step.loads and step.by_reader and not _failed(event) and not _locks(event):
            self._load(step)

    def _load(self, step: Step) -> None:
        process, operation = step.exchange.process, step.operation
        if operation is not None:
            self._selects |= {(operation.invoked, key): step.index for key in step.exchange.keys}
        if process in self._deaf or not (self._absent or _found(step.exchange.reply)):
            return
        since = self._born.get(process, -1) if operation is None else self._since[process]
        for key in step.exchange.keys:
            if operation is None or operation.key in (key, None):
                self.ledgers[key].loads.append(Load(since, step.index, process, operation))
                (self._aside if operation is None else self._loaded).setdefault(process, set()).add(key)

    def _note_lock(self, step: Step) -> None:
        """Keep in mind who holds what may be a lock: what a reader set, with NX, before it loaded."""
        event, operation = step.exchange, step.operation
        if event.fate is Fate.REQUEST_LOST or step.looks or event.verb in ("EXPIRE", "PEXPIRE"):
            return
        if event.verb in ("SET", "SETNX") and "NX" in {event.verb[3:], *map(str.upper, event.request[2:])}:
            if not step.took_effect or event.reply == 0:
                return
            if operation is not None and step.by_reader and not self._loaded.get(event.process):
                self._locks[event.request[1]] = operation, step.index
                return
        for name in event.request[1:]:
            self._locks.pop(name, None)


def _failed(exchange: Exchanged) -> bool:
    """True if the client got no answer, or an error; to be asked for the text of a script is neither."""
    reply = exchange.reply
    error = str(reply["error"]) if isinstance(reply, dict) and "error" in reply else None
    return exchange.fate is not Fate.DELIVERED or (error is not None and not error.startswith("NOSCRIPT"))


def _voids(step: Step) -> bool:
    """True if an exchange with the cache may void entries, and is not a reader's."""
    exchange = step.exchange
    if exchange.fate is Fate.REQUEST_LOST or (step.by_reader and step.operation is not None):
        return False
    if step.operation is None:  # something in the background: a refresh stores, an invalidation deletes
        return step.deletes or exchange.verb.startswith(("EVAL", "FCALL"))
    nothing = exchange.reply is None and exchange.fate is Fate.DELIVERED
    taken = delivers(exchange) or pops(exchange) or acknowledges(exchange)
    return step.touches or not (nothing or taken or step.looks)


def _locks(exchange: Exchanged) -> bool:
    """True if a SELECT does not look for a row, but takes (or frees) an advisory lock."""
    return any("advisory" in word.lower() for word in exchange.request)


def _found(reply: object) -> bool:
    """True if the reply to a SELECT has rows."""
    return bool(reply.get("rows")) if isinstance(reply, dict) else reply is not None
