"""Histories in EDN: one map a line, one line an event, as Jepsen writes them.

    {:process 0, :type :invoke, :f :append, :key "K", :value "x"}
    {:process 0, :type :ok, :f :append, :key "K", :value "x"}
    #jepsen.history.Op{:index 2, :time 3291485317, :type :invoke, :process 1, :f :read, :value [7 nil]}

Rule 1. Keys are strings, numbers or keywords, and all of one kind.  Where a line has no `:key`, its `:value`
        is either the value, of a register called "register", or a pair [key value], as Jepsen writes what is
        done to independent keys.  The first operation decides which; all others are of the same form.
Rule 2. `:index` has to grow from line to line: the order of the lines is the order of the events.  `:time`
        (nanoseconds) is on every line or on none; without it `at_s` is 0.0 throughout.
Rule 3. Lines of processes that are keywords (`:nemesis`) are passed over, as are blank lines and comments.
        `:error` tells why an operation ended `:fail` or `:info`; keys of a map that are not named here say
        nothing about the history.
Rule 4. A `:fail` did not happen, a failed compare-and-set included: a client may fail for any reason.

What the operations mean: jepsen.py; the notation: edn.py.
"""

from collections.abc import Iterable, Iterator

from cacheproof.models.edn import Form, Keyword, Map, Tagged, read_forms
from cacheproof.models.jepsen import Happening, JepsenHistory
from cacheproof.models.malformed import Malformed

__all__ = ["KEY", "read_edn"]

KEY = "register"

_TYPES = frozenset({"fail", "info", "invoke", "ok"})
_UNSETTLED = frozenset({"fail", "info"})
_TAGS = frozenset({"jepsen.history.Op", "knossos.op.Op"})


def read_edn(lines: Iterable[str]) -> JepsenHistory:
    """The operations in the lines of an EDN history.  Raises Malformed for the first that breaks a rule."""
    found = JepsenHistory(asserts=False)
    reader = _Reader()
    for number, line in enumerate(lines, start=1):
        for happening in map(reader.read, _events(line, number)):
            if happening is not None:
                found.take(happening)
    return found


class _Event:
    """The map of one line, with ways to get at its values that say where one is wrong."""

    def __init__(self, number: int, column: int, entries: Map) -> None:
        self.number = number
        self.column = column
        self.fields: dict[str, Form] = {}
        self.columns: dict[str, int] = {}
        for key, form in entries.entries.items():
            if isinstance(key, Keyword):
                self.fields[key.name] = form
                self.columns[key.name] = entries.columns[key]

    def malformed(self, name: str, what: str) -> Malformed:
        return Malformed(self.number, self.columns.get(name, self.column), what)

    def keyword(self, name: str) -> str:
        form = self.fields.get(name)
        if not isinstance(form, Keyword):
            raise self.malformed(name, f":{name} is {self.shown(name)}; expected a keyword")
        return form.name

    def whole(self, name: str) -> int:
        form = self.fields.get(name)
        if not isinstance(form, int) or isinstance(form, bool) or form < 0:
            raise self.malformed(
                name, f":{name} is {self.shown(name)}; expected a whole number of at least 0"
            )
        return form

    def shown(self, name: str) -> str:
        return f"{self.fields[name]!r:.60}" if name in self.fields else "missing"


class _Reader:
    """Reads events in order; what the first one decided holds for the others."""

    def __init__(self) -> None:
        self._index = -1
        self._timed: bool | None = None
        self._layout: str | None = None
        self._keys: dict[str, Form] = {}

    def read(self, event: _Event) -> Happening | None:
        """The event, or None for one of the nemesis."""
        self._check_index(event)
        if isinstance(event.fields.get("process"), Keyword):
            return None
        process, kind, f = event.whole("process"), event.keyword("type"), event.keyword("f")
        if kind not in _TYPES:
            raise event.malformed("type", f":type is :{kind}; expected :invoke, :ok, :fail or :info")
        key, value = self._key_and_value(event, kind, f)
        error = event.fields.get("error") if kind in _UNSETTLED else None
        return Happening(
            line=event.number,
            columns=event.columns,
            process=process,
            type=kind,
            f=f,
            key=key,
            value=value,
            at_s=self._at_s(event),
            error=None if error is None else str(error),
        )

    def _check_index(self, event: _Event) -> None:
        if "index" not in event.fields:
            return
        index = event.whole("index")
        if index <= self._index:
            what = f":index is {index} after {self._index}; expected lines in the order of the events"
            raise event.malformed("index", what)
        self._index = index

    def _at_s(self, event: _Event) -> float:
        timed = "time" in event.fields
        if self._timed is None:
            self._timed = timed
        if timed is not self._timed:
            found, before = ("there", "missing") if timed else ("missing", "there")
            raise event.malformed(
                "time", f":time is {found}; expected it to be {before}, as on the lines before"
            )
        return event.whole("time") / 1e9 if timed else 0.0

    def _key_and_value(self, event: _Event, kind: str, f: str) -> tuple[str | None, Form]:
        """The key (None where the end of an operation does not repeat it) and the value."""
        ended = kind in _UNSETTLED
        if "value" not in event.fields and not ended:
            raise event.malformed("value", ":value is missing; expected what was given or returned, or nil")
        value = event.fields.get("value")
        if self._layout is None:
            self._layout = _layout(event, value, f)
        if ("key" in event.fields) is not (self._layout == _KEYED):
            expected = "a key" if self._layout == _KEYED else "no key"
            raise event.malformed(
                "key", f":key is {event.shown('key')}; expected {expected}, as on the lines before"
            )
        if self._layout == _KEYED:
            return self._key(event, "key", event.fields["key"]), value
        if self._layout == _PLAIN:
            return KEY, value
        if isinstance(value, tuple) and len(value) == 2:
            return self._key(event, "value", value[0]), value[1]
        if ended:
            return None, value
        what = f":value is {event.shown('value')}; expected [key value], as on the lines before"
        raise event.malformed("value", what)

    def _key(self, event: _Event, name: str, form: Form) -> str:
        """The key as text.  Two keys never become one."""
        if isinstance(form, bool) or not isinstance(form, (str, int, Keyword)):
            what = f"not supported: {form!r:.60} as a key; expected a string, a number or a keyword"
            raise event.malformed(name, what)
        text = str(form)
        known = self._keys.setdefault(text, form)
        if type(known) is not type(form):
            raise event.malformed(name, f"{form!r} and {known!r} are both keys; expected keys of one kind")
        return text


_KEYED, _PAIRED, _PLAIN = "keyed", "paired", "plain"


def _layout(event: _Event, value: Form, f: str) -> str:
    """Where the key of the first operation stands: in `:key`, in a pair with the value, or nowhere."""
    if "key" in event.fields:
        return _KEYED
    paired = isinstance(value, tuple) and len(value) == 2 and (f != "cas" or isinstance(value[1], tuple))
    return _PAIRED if paired else _PLAIN


def _events(line: str, number: int) -> Iterator[_Event]:
    """The events of a line: mostly one."""
    for placed in read_forms(line, number):
        form = placed.form
        if isinstance(form, Tagged) and form.tag in _TAGS:
            form = form.form
        if not isinstance(form, Map):
            what = f"{form!r:.60} is no event; expected a map such as {{:process 0, :type :invoke, …}}"
            raise Malformed(number, placed.column, what)
        yield _Event(number, placed.column, form)
