"""A finding with what its words are made of: who is called what, and where each event is to be seen.

Where a counterexample is drawn, an event is named by the number of its step ("at 7"), and by nothing if no
step shows it; elsewhere by its index in the history ("at event 12").  The history itself may be missing: then
only the finding tells what the database held, and keys are always named.

Words are made by functions from a scene to a sentence, without a capital, and to a mark of a few words.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.verdict import Finding
from cacheproof.reports.steps import Steps
from cacheproof.reports.words import Names, counted, listing, plain, show

__all__ = ["Scene", "Template", "Words", "counted_words", "number_words", "range_words", "says"]

_MOST_ACTS = 6
"""More operations than this are counted instead of told."""

_SILENT = frozenset({"acquire", "increment", "release"})
"""Methods whose value, which may be what they returned, says nothing of what they did."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A finding, the names of the processes, and as much of its surroundings as is known."""

    finding: Finding
    names: Names
    history: History | None = None
    steps: Steps | None = None

    @property
    def of_key(self) -> str:
        """ " of user:1" where there are several keys; nothing where it goes without saying."""
        return self._key(" of")

    @property
    def on_key(self) -> str:
        """ " on user:1", likewise."""
        return self._key(" on")

    @property
    def where(self) -> str:
        """ " of user:1" if all operations of the finding are on that key; else each has to say for itself."""
        return "" if self.mixed else self.of_key

    @property
    def reader(self) -> str:
        """ "B's read", "B's read of user:2", "a read"."""
        culprit = self.finding.culprit
        if culprit is None:
            return f"a read{self.of_key}"
        return f"{self.called(culprit)}{self.of_key}"

    @property
    def call(self) -> str:
        """ "B's write", "B's write on user:2", "an operation"."""
        culprit = self.finding.culprit
        return f"{self.called(culprit) if culprit else 'an operation'}{self.on_key}"

    @property
    def got(self) -> str:
        """What the culprit read."""
        return show(self.finding.culprit.value) if self.finding.culprit else "a value"

    @property
    def held(self) -> Value:
        """What the database holds at the end, as far as it is known."""
        if self.history is None:
            return self.finding.versions[-1].value if self.finding.versions else None
        key = self.finding.key or ""
        commits = self.history.commits.get(key, ())
        return commits[-1].value if commits else self.history.initial.get(key)

    @property
    def knows_held(self) -> bool:
        return self.history is not None or bool(self.finding.versions)

    def was_committed(self, value: Value) -> bool:
        """True if the database is known to have committed `value` for the key of the finding."""
        known = (
            self.history.commits.get(self.finding.key or "", ()) if self.history else self.finding.versions
        )
        return any(item.value == value for item in known)

    def client(self, operation: Operation) -> str:
        return self.names.client(operation.process)

    def called(self, *operations: Operation) -> str:
        """ "A's read and B's read", each once."""
        return listing(dict.fromkeys(f"{self.client(item)}'s {plain(item.f)}" for item in operations))

    def at(self, index: int | None, word: str = " at") -> str:
        """ " at 7" for the event of that index, or nothing if it is not shown."""
        place = self._place(index)
        event = "" if self.steps else "event "
        return "" if place is None else f"{word} {event}{place}"

    def at_all(self, indices: Sequence[int]) -> str:
        """ " at 3, 5 and 8", without those that are not shown."""
        places = [place for index in indices if (place := self._place(index)) is not None]
        told = [str(place) for place in places[:_MOST_ACTS]]
        told += [f"{len(places) - _MOST_ACTS} more"] if places[_MOST_ACTS:] else []
        events = "" if self.steps else "event " if len(places) == 1 else "events "
        return f" at {events}{listing(told)}" if told else ""

    def act(self, operation: Operation, *, key: bool = False) -> str:
        """ "A's write of v2", "A's delete", "A's cas 1 → 2".

        With `key` also " on user:1", if the operations of the finding are not all on one key.
        """
        where = f" on {show(operation.key)}" if key and self.mixed and operation.key is not None else ""
        return f"{self.called(operation)}{_object(operation)}{where}"

    def acts(self, operations: Iterable[Operation], *, key: bool = False) -> str:
        """ "A's write of v1, B's write of v2 and 3 more operations"."""
        every = tuple(operations)
        told = [self.act(item, key=key) for item in every[:_MOST_ACTS]]
        if more := len(every) - len(told):
            told.append(counted(more, "more operation"))
        return listing(told)

    @property
    def because(self) -> str:
        """The operations that make it wrong, or nothing if there are none."""
        return self.acts(self.finding.because) if self.finding.because else ""

    @property
    def mixed(self) -> bool:
        """True if the operations of the finding are not all on one key."""
        culprit = self.finding.culprit
        every = (*self.finding.because, *([culprit] if culprit else []))
        return len({item.key for item in every}) > 1

    def _key(self, word: str) -> str:
        key = self.finding.key
        several = self.history is None or len(self.history.initial) > 1
        return f"{word} {show(key)}" if key is not None and several else ""

    def _place(self, index: int | None) -> int | None:
        return index if self.steps is None else self.steps.number(index)


def _object(operation: Operation) -> str:
    """ " of v2", " 1 → 2", or nothing for what has no object."""
    value = operation.value
    if operation.f == "cas" and isinstance(value, tuple) and len(value) == 2:
        refused = ", which was refused" if operation.result is False else ""
        return f" {show(value[0])} → {show(value[1])}{refused}"
    returned = operation.f == "read" and operation.outcome is Outcome.OK
    return "" if operation.f in _SILENT or (value is None and not returned) else f" of {show(value)}"


Words = Callable[[Scene], str]


@dataclass(frozen=True, slots=True)
class Template:
    """The words of one kind: a sentence, without a capital and with a full stop, and a mark of a few words.

    `lasting` says whether what the cache goes on serving is part of the story.
    """

    sentence: Words
    mark: Words
    lasting: bool = False


def says(words: str) -> Words:
    """The same words for every scene."""
    return lambda scene: words


def number_words(number: float | None) -> str:
    """ "3", "1,000", "2.5"; "an unknown number" for None."""
    if number is None:
        return "an unknown number"
    return f"{int(number):,}" if number == number // 1 else f"{number:,.6g}"


def counted_words(number: float | None, noun: str) -> str:
    """ "1 load", "3 loads"; "too many loads" for None."""
    if number is None:
        return f"too many {noun}s"
    return f"{number_words(number)} {noun}{'' if number == 1 else 's'}"


def range_words(allowed: tuple[float | None, float | None] | None) -> str:
    """ "3", "between 1 and 3", "at least 1", "at most 3", "anything"."""
    least, most = allowed or (None, None)
    if least is not None and most is not None:
        same = least == most
        return number_words(least) if same else f"between {number_words(least)} and {number_words(most)}"
    if least is not None:
        return f"at least {number_words(least)}"
    return "anything" if most is None else f"at most {number_words(most)}"
