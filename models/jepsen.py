"""What Jepsen's operations mean: from lines of (process, type, function, value) to a history of ours.

    0 :invoke :write 3        invoked, process 0 writes 3
    1 :invoke :cas   [3 4]    invoked, process 1 replaces 3 by 4
    0 :ok     :write 3        returned ok
    1 :info   :cas   :timeout outcome unknown: it may take effect at any later time, or never

Rule 1. The order of the lines is the order of the events; index n is the n-th line that is an operation.
Rule 2. A process has one operation open at a time, and what returns is what was invoked: the same function on
        the same key, and, where it is ok and took an argument, with the same argument.
Rule 3. The first operation decides what the history is of (see `VOCABULARIES`); all others are of the same.
Rule 4. `:fail` certainly did not happen.  A failed read says nothing, nor does a failed write.  A failed
        compare-and-set did compare, where the caller says so (`asserts`) and the line repeats its argument
        instead of an error: then it returned False, because the state was not what it expected.
Rule 5. Whatever breaks a rule is Malformed, with its line and column.  Nothing is guessed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cacheproof.models.edn import Form
from cacheproof.models.event import Event, Invoked, Returned
from cacheproof.models.history import History
from cacheproof.models.malformed import Malformed
from cacheproof.models.operation import Outcome, Value

__all__ = ["VOCABULARIES", "Happening", "JepsenHistory", "Vocabulary", "value_of"]

_READS = frozenset({"get", "read"})
_WITHOUT_ARGUMENT = frozenset({"acquire", "get", "read", "release"})


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The functions that occur together: the model that they are of, our names for them, and what a key holds
    before the history."""

    model: str
    functions: Mapping[str, str]
    initial: Value


VOCABULARIES = (
    Vocabulary("cas-register", {"read": "read", "write": "write", "cas": "cas"}, None),
    Vocabulary("key-value", {"get": "read", "put": "write", "append": "append"}, ""),
    Vocabulary("mutex", {"acquire": "acquire", "release": "release"}, None),
)


@dataclass(frozen=True, slots=True)
class Happening:
    """One line: what a process did, and where in the file that is said (`columns`, from 1, by field).

    `type` is "invoke", "ok", "fail" or "info"; `error` what stands there besides the value.  `key` is None
    where the end of an operation does not repeat it.
    """

    line: int
    columns: Mapping[str, int]
    process: int
    type: str
    f: str
    key: str | None
    value: Form
    at_s: float = 0.0
    error: str | None = None

    def malformed(self, field: str, what: str) -> Malformed:
        return Malformed(self.line, self.columns.get(field, 1), what)


class JepsenHistory:
    """Takes the operations of a file in order, and makes a history of them."""

    def __init__(self, *, asserts: bool) -> None:
        self._asserts = asserts
        self._events: list[Event] = []
        self._open: dict[int, tuple[Happening, Value]] = {}
        self._keys: dict[str, None] = {}
        self._processes = 0
        self._first_line = 0
        self.vocabulary: Vocabulary | None = None

    def take(self, happening: Happening) -> None:
        """Add one operation's beginning or end.  Raises Malformed."""
        if happening.error is not None and happening.type in ("invoke", "ok"):
            what = f"{happening.error!r} stands beside the value of an :{happening.type}; expected nothing"
            raise happening.malformed("error", what)
        if happening.type == "invoke":
            self._events.append(self._invoked(happening, self._function(happening)))
        else:
            self._events.append(self._returned(happening))

    def history(self) -> History:
        """What was taken so far."""
        initial = self.vocabulary.initial if self.vocabulary else None
        return History(dict.fromkeys(self._keys, initial), tuple(self._events), self._processes)

    def _function(self, happening: Happening) -> str:
        """Our name for the function.  The first one chooses the vocabulary."""
        if self.vocabulary is None:
            found = [item for item in VOCABULARIES if happening.f in item.functions]
            if not found:
                known = " or ".join(_listed(item) for item in VOCABULARIES)
                raise happening.malformed("f", f"not supported: :{happening.f}; expected {known}")
            self.vocabulary, self._first_line = found[0], happening.line
        name = self.vocabulary.functions.get(happening.f)
        if name is None:
            known = f"{_listed(self.vocabulary)}, as line {self._first_line} is one of them"
            raise happening.malformed("f", f"not supported: :{happening.f} here; expected {known}")
        return name

    def _invoked(self, happening: Happening, f: str) -> Invoked:
        process = happening.process
        if process in self._open:
            begun = self._open[process][0]
            what = f"process {process} invokes while its :{begun.f} of line {begun.line} is open"
            raise happening.malformed("process", f"{what}; expected that to return first")
        value = _argument(happening)
        if happening.key is None:
            raise happening.malformed("key", "an invocation names no key; expected one")
        self._open[process] = happening, value
        self._keys[happening.key] = None
        self._processes = max(self._processes, process + 1)
        return Invoked(len(self._events), happening.at_s, process, f, happening.key, value)

    def _returned(self, happening: Happening) -> Returned:
        process = happening.process
        argument = self._begun(happening)
        outcome, value = Outcome(happening.type), argument
        if outcome is Outcome.OK:
            value = _result(happening, argument)
        elif outcome is Outcome.FAIL and self._compared(happening, argument):
            outcome, value = Outcome.OK, False
        return Returned(len(self._events), happening.at_s, process, outcome, value, happening.error)

    def _begun(self, happening: Happening) -> Value:
        """The argument of the call that returns."""
        if happening.process not in self._open:
            what = f"process {happening.process} returns without an invocation"
            raise happening.malformed("process", f"{what}; expected :invoke")
        begun, argument = self._open.pop(happening.process)
        for field in ("f", "key"):
            was, now = getattr(begun, field), getattr(happening, field)
            if was != now and now is not None:
                raise happening.malformed(
                    field, f"{now!r} returns; expected {was!r}, invoked in line {begun.line}"
                )
        return argument

    def _compared(self, happening: Happening, argument: Value) -> bool:
        if not self._asserts or happening.f != "cas" or happening.error is not None:
            return False
        try:
            return repr(value_of(happening.value)) == repr(argument)
        except ValueError:
            return False


def _listed(vocabulary: Vocabulary) -> str:
    return " ".join(f":{name}" for name in vocabulary.functions)


def _argument(happening: Happening) -> Value:
    """What the call was given: nothing for a read, two values for a compare-and-set."""
    value = _value(happening)
    if happening.f in _WITHOUT_ARGUMENT and value is not None:
        raise happening.malformed("value", f"{value!r} is given to a :{happening.f}; expected nil")
    if happening.f == "cas" and not (isinstance(value, tuple) and len(value) == 2):
        raise happening.malformed("value", f"{value!r} is given to a :cas; expected [from to]")
    return value


def _result(happening: Happening, argument: Value) -> Value:
    """What an ok call returned: what was read, True for a compare-and-set (it changed the value), else None."""
    value = _value(happening)
    if happening.f in _READS:
        return value
    if repr(value) != repr(argument):  # 1, 1.0 and true are equal for Python
        raise happening.malformed("value", f"{value!r} returns; expected the argument, {argument!r}")
    return True if happening.f == "cas" else None


def _value(happening: Happening) -> Value:
    try:
        return value_of(happening.value)
    except ValueError as error:
        raise happening.malformed("value", str(error)) from None


def value_of(form: Form) -> Value:
    """A form as a value of a history.  Raises ValueError for what is no scalar and no vector of scalars."""
    if form is None or isinstance(form, (str, int, float)):
        return form
    if isinstance(form, tuple):
        return tuple(value_of(item) for item in form)
    raise ValueError(
        f"not supported: the value {form!r}; expected nil, true, a number, a string or a vector of these"
    )
