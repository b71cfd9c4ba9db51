"""Happens-before: which operations must come before which, where only sessions and values order them.

The weak models know no clock.  An operation comes before another for two reasons only:

Program order.  They are operations of one *session*, and the first had returned before the second began.  A
    session is the life of a client: a client that crashed and was started anew begins another.
Reads-from.  One wrote the value that the other read.

        A: |-w1@x-|  |-w2@y-|
        B:                     |-r2@y-|  |-r0@x-|       w1@x, w2@y, r2@y, r0@x: each before the next

An ambiguous write (`info`) comes after what its session did before, and before nothing that the session did
later: the client gave up waiting and went on, the write may still be under way.  (Were it otherwise, a
history could be linearizable and yet break weaker models.)  One whose value nobody read is left out: that it
never happened is legal, and every order with it is one without it.

A read of a value with several sources orders nothing and is set aside, and so is every operation on a key
with methods other than read, write and delete: without them a legal history is still legal, so what is left
can be refuted, but no longer upheld.
"""

from bisect import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome
from cacheproof.models.register import Register, is_write, obstacle, registers, written
from cacheproof.models.sessions import restarts
from cacheproof.models.verdict import Finding

__all__ = ["Scene", "Session", "observe", "session_of"]

Session = tuple[int, int]
"""A process, and how many times it had crashed or been started anew."""

_WRITELESS = ("read", "warm", "work")


def session_of(history: History) -> Mapping[int, Session]:
    """The session of every operation, by the event index at which it was invoked."""
    lives = restarts(history)
    return {
        op.invoked: (op.process, bisect(lives.get(op.process, ()), op.invoked)) for op in history.operations
    }


@dataclass(frozen=True)
class Scene:
    """The operations of a history that order one another.  A *node* is an index into `operations`.

    `operations` are in order of invocation.  `chains` has a number for each: the operations of a session
    share one and follow one another, an ambiguous write has its own.  `previous` has the node of the
    operation that comes directly before in program order, or None.  `sources` tells of each read which node
    it read from (None: the initial record).  `unwritten` are reads of values that nobody wrote.  `left_out`
    says why keys were left out, `set_aside` why reads were, if any.
    """

    registers: Mapping[str, Register]
    operations: tuple[Operation, ...]
    chains: tuple[int, ...]
    previous: tuple[int | None, ...]
    sources: Mapping[int, int | None]
    unwritten: tuple[Operation, ...] = ()
    left_out: str | None = None
    set_aside: str | None = None

    @property
    def unknown(self) -> str | None:
        """Why the history cannot be upheld by what is known of these operations."""
        return self.left_out or self.set_aside

    @property
    def judged(self) -> int:
        """How many ok reads there are on keys that are registers, the ones set aside included."""
        return sum(len(register.reads) for register in self.registers.values())

    @cached_property
    def writes(self) -> Mapping[str, tuple[tuple[int, ...], ...]]:
        """The nodes that write a key: a tuple for each chain, in program order."""
        found: dict[str, dict[int, list[int]]] = {}
        for node, op in enumerate(self.operations):
            if is_write(op):
                found.setdefault(str(op.key), {}).setdefault(self.chains[node], []).append(node)
        return {key: tuple(map(tuple, chains.values())) for key, chains in found.items()}

    @cached_property
    def masks(self) -> Mapping[str, tuple[int, ...]]:
        """`writes` as bit sets."""
        return {
            key: tuple(sum(1 << node for node in chain) for chain in chains)
            for key, chains in self.writes.items()
        }

    def latest(self, past: int, key: str | None) -> Iterator[int]:
        """The last writes of `key` among the nodes of the bit set `past`, one for each chain that has one."""
        for mask in self.masks.get(str(key), ()):
            if found := past & mask:
                yield found.bit_length() - 1

    def finding(self, name: str, kind: str, culprit: Operation, because: Iterable[Operation] = ()) -> Finding:
        """A finding about a read, with the versions of its key that the evidence speaks of."""
        register, evidence = self.registers[str(culprit.key)], tuple(because)
        same_key = [op for op in (culprit, *evidence) if op.key == culprit.key]
        return Finding(
            property=name,
            kind=kind,
            key=culprit.key,
            culprit=culprit,
            because=evidence,
            versions=register.versions(*(written(op) for op in same_key)),
            stale_s=register.stale_s(culprit),
        )

    def made_up(self, name: str) -> Iterator[Finding]:
        """Of each key the first read of a value that nobody wrote: "aborted" if a write of it failed.

        `because` are the writes that failed; without them the read is "fabricated".
        """
        for read in {read.key: read for read in reversed(self.unwritten)}.values():
            failed = self.registers[str(read.key)].wrote(read.value)
            yield self.finding(name, "aborted" if failed else "fabricated", read, failed)


def observe(history: History) -> Scene:
    """The scene of a history: which operations take part, and what each read has read.

    Made once for each history, however many models are asked for.
    """
    known: Scene | None = history.derived.get("scene")
    if known is None:
        known = history.derived["scene"] = _observe(history)
    return known


def _observe(history: History) -> Scene:
    usable, left_out = _usable(history)
    reads = [read for register in usable.values() for read in register.reads]
    reads.sort(key=lambda op: op.invoked)
    found = {read.invoked: _sources(usable[str(read.key)], read) for read in reads}
    repeated = [read for read in reads if len(found[read.invoked]) > 1]
    clear = {at: sources[0] for at, sources in found.items() if len(sources) == 1}
    takes_part = {*clear, *(source.invoked for source in clear.values() if source)}
    takes_part.update(op.invoked for register in usable.values() for op in register.acknowledged)
    operations = tuple(op for op in history.operations if op.invoked in takes_part)
    node = {op.invoked: place for place, op in enumerate(operations)}
    chains, previous = _program_order(operations, session_of(history))
    return Scene(
        registers=usable,
        operations=operations,
        chains=chains,
        previous=previous,
        sources={node[at]: node[source.invoked] if source else None for at, source in clear.items()},
        unwritten=tuple(read for read in reads if not found[read.invoked]),
        left_out=left_out,
        set_aside=(
            f"{repeated[0].value!r} was read, and more than one write may have written it"
            if repeated
            else None
        ),
    )


def _usable(history: History) -> tuple[dict[str, Register], str | None]:
    """The keys that are registers, and why the others are not, if there are others."""
    for op in history.operations:
        if op.key is None and op.outcome is not Outcome.FAIL and not op.f.startswith(_WRITELESS):
            return {}, f"{op.f!r} may have written any key"
    found = {register.key: register for register in registers(history)}
    doubts = {key: doubt for key, item in found.items() if (doubt := obstacle(item.operations))}
    usable = {key: item for key, item in found.items() if key not in doubts}
    return usable, next(iter(doubts.values()), None)


def _sources(register: Register, read: Operation) -> tuple[Operation | None, ...]:
    """What may have left the value that was read: writes, and None for the initial record."""
    initial = (None,) if register.is_initial(read.value) else ()
    return (*initial, *register.sources(read.value))


def _program_order(
    operations: Sequence[Operation], lives: Mapping[int, Session]
) -> tuple[tuple[int, ...], tuple[int | None, ...]]:
    """The chain of each operation, and the node before it.  No operation follows an ambiguous one."""
    numbers: dict[Session | int, int] = {}
    last: dict[Session, int] = {}
    chains, previous = [], []
    for node, op in enumerate(operations):
        session = lives[op.invoked]
        settled = op.outcome is Outcome.OK
        chains.append(numbers.setdefault(session if settled else op.invoked, len(numbers)))
        previous.append(last.get(session))
        if settled:
            last[session] = node
    return tuple(chains), tuple(previous)
