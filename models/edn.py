"""EDN, the notation in which Clojure programs (Jepsen among them) write data: the forms of one line.

    {:process 0, :f :cas, :value [1 2]}     a map of keywords          #{1 2}      a set
    "a \"string\""  \\a  nil  true  1.5  7N   scalars                    #tag form   a tagged form
    ; to the end of the line                a comment                  #_ form     a form that is left out

Rule 1. A form begins and ends on one line.  Commas are blanks.
Rule 2. In memory: nil is None; strings, numbers and true are Python's; vectors and lists are tuples, sets are
        frozensets; keywords, symbols, characters, maps and tagged forms have classes of their own, so that
        :a, a, \\a and "a" stay four things.
Rule 3. What memory cannot hold exactly is refused, not rounded: decimals with an M, maps as keys, and keys
        or members that Python holds for equal (1, 1.0 and true).

The notation is described at https://github.com/edn-format/edn.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf, nan

from cacheproof.models.malformed import Malformed

__all__ = ["Character", "Form", "Keyword", "Map", "Placed", "Symbol", "Tagged", "read_form", "read_forms"]


@dataclass(frozen=True, slots=True)
class Keyword:
    """`:name`, without its colon."""

    name: str

    def __repr__(self) -> str:
        return f":{self.name}"


@dataclass(frozen=True, slots=True)
class Symbol:
    """A bare word."""

    name: str

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Character:
    """`\\a`, `\\newline`: one character."""

    text: str


@dataclass(frozen=True, slots=True)
class Map:
    """A map.  `columns` says where in the line the value of each key begins (from 1)."""

    entries: Mapping["Form", "Form"]
    columns: Mapping["Form", int] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Tagged:
    """`#tag form`."""

    tag: str
    form: "Form"


Form = (
    str
    | int
    | float
    | bool
    | Keyword
    | Symbol
    | Character
    | Map
    | Tagged
    | tuple["Form", ...]
    | frozenset["Form"]
) | None
"""What a form is in memory."""

DEEPEST = 100
"""Levels of nesting; what is deeper would exhaust Python's stack somewhere."""

_WORD = r"[^\s,;\"()\[\]{}\\]"
_TOKEN = re.compile(
    rf"""(?P<blank>[\s,]+|;.*)
      |  (?P<open>\#?{{|[(\[])
      |  (?P<close>[)\]}}])
      |  "(?P<string>[^"\\]*(?:\\.[^"\\]*)*)"
      |  \\(?P<character>[^\s]{_WORD}*)
      |  (?P<discard>\#_)
      |  \#\#(?P<symbolic>{_WORD}+)
      |  \#(?P<tag>[^\W\d_]{_WORD}*)
      |  :(?P<keyword>[^\s,;"()\[\]{{}}\\:]{_WORD}*)
      |  (?P<number>[+-]?\d{_WORD}*)
      |  (?P<symbol>[^\s,;"()\[\]{{}}\\\#:@^`~'\d]{_WORD}*)
    """,
    re.VERBOSE,
)
_INTEGER = re.compile(r"[+-]?(?:0|[1-9]\d*)N?", re.ASCII)
_FLOAT = re.compile(r"[+-]?(?:0|[1-9]\d*)(?:\.\d*)?(?:[eE][+-]?\d+)?", re.ASCII)
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)")
_ESCAPES = {"t": "\t", "r": "\r", "n": "\n", "b": "\b", "f": "\f", '"': '"', "\\": "\\"}
_CHARACTERS = {"newline": "\n", "return": "\r", "space": " ", "tab": "\t"}
_SYMBOLS: Mapping[str, bool | None] = {"nil": None, "true": True, "false": False}
_SYMBOLIC = {"Inf": inf, "-Inf": -inf, "NaN": nan}
_CLOSERS = {"{": "}", "#{": "}", "(": ")", "[": "]"}
_NAMES = {"{": "map", "#{": "set", "(": "list", "[": "vector"}


@dataclass(frozen=True, slots=True)
class Placed:
    """A form, the column at which it begins (from 1), and the offset at which it ends (from 0)."""

    form: Form
    column: int
    end: int


def read_forms(text: str, line: int = 1) -> tuple[Placed, ...]:
    """The forms in `text`.

    Raises Malformed, with `line` and the column, for whatever is no form or does not end on this line.
    """
    found: list[Placed] = []
    while placed := read_form(text, line, found[-1].end if found else 0):
        found.append(placed)
    return tuple(found)


def read_form(text: str, line: int = 1, start: int = 0) -> Placed | None:
    """The first form in `text` from offset `start` on, or None if only blanks are left.  Raises Malformed."""
    reader = _Reader(line)
    position = start
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            raise Malformed(line, position + 1, _no_token(text, position))
        reader.take(str(token.lastgroup), token[str(token.lastgroup)], position + 1)
        position = token.end()
        if reader.done:
            return Placed(*reader.done, position)
    reader.finish()
    return None


def _no_token(text: str, position: int) -> str:
    if text[position] == '"':
        return "this string does not end on its line; expected a closing quotation mark"
    return f"{text[position : position + 20]!r} is no EDN; expected a form"


@dataclass(slots=True)
class _Frame:
    """A form that has begun: its token, its column, and what is in it so far."""

    token: str
    column: int
    items: list[Form] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)


class _Reader:
    """Builds forms from tokens, those that have begun on a stack."""

    def __init__(self, line: int) -> None:
        self._line = line
        self._frames = [_Frame("", 1)]
        self.done: tuple[Form, int] | None = None

    def take(self, kind: str, text: str, column: int) -> None:
        match kind:
            case "blank":
                pass
            case "open" | "discard":
                self._open(text, column)
            case "tag":
                self._open(f"#{text}", column)
            case "close":
                self._close(text, column)
            case _:
                self._add(self._scalar(kind, text, column), column)

    def finish(self) -> None:
        """Nothing follows.  Raises Malformed if a form has begun."""
        if len(self._frames) > 1:
            raise self._unfinished(self._frames[-1])

    def _open(self, token: str, column: int) -> None:
        if len(self._frames) > DEEPEST:
            raise Malformed(self._line, column, f"not supported: more than {DEEPEST} levels of nesting")
        self._frames.append(_Frame(token, column))

    def _unfinished(self, frame: _Frame) -> Malformed:
        if frame.token in _CLOSERS:
            what = f"this {_NAMES[frame.token]} does not end on its line; expected {_CLOSERS[frame.token]!r}"
        else:
            what = f"{frame.token!r} stands before nothing; expected a form"
        return Malformed(self._line, frame.column, what)

    def _add(self, form: Form, column: int) -> None:
        """Put a form into the frame that is open; a tag takes one form, and a discard swallows one."""
        while (top := self._frames[-1]).token.startswith("#") and top.token != "#{":
            self._frames.pop()
            if top.token == "#_":
                return
            form, column = Tagged(top.token[1:], form), top.column
        if not top.token:
            self.done = form, column
        top.items.append(form)
        top.columns.append(column)

    def _close(self, closer: str, column: int) -> None:
        frame = self._frames[-1]
        if frame.token and frame.token not in _CLOSERS:
            raise self._unfinished(frame)
        if _CLOSERS.get(frame.token) != closer:
            expected = f"; expected {_CLOSERS[frame.token]!r}" if frame.token else ""
            raise Malformed(self._line, column, f"{closer!r} closes nothing{expected}")
        self._frames.pop()
        self._add(self._collected(frame), frame.column)

    def _collected(self, frame: _Frame) -> Form:
        if frame.token == "{":
            return self._map(frame)
        if frame.token == "#{":
            return frozenset(self._unique(frame.items, frame.columns, "member of a set"))
        return tuple(frame.items)

    def _map(self, frame: _Frame) -> Map:
        if len(frame.items) % 2:
            raise Malformed(self._line, frame.columns[-1], f"{frame.items[-1]!r} has no value in its map")
        keys = self._unique(frame.items[::2], frame.columns[::2], "key of a map")
        entries = dict(zip(keys, frame.items[1::2], strict=True))
        return Map(entries, dict(zip(keys, frame.columns[1::2], strict=True)))

    def _unique(self, forms: list[Form], columns: list[int], role: str) -> list[Form]:
        seen: set[Form] = set()
        for form, column in zip(forms, columns, strict=True):
            try:
                repeated = form in seen
                seen.add(form)
            except TypeError:
                raise Malformed(self._line, column, f"not supported: a map in a {role}") from None
            if repeated:
                raise Malformed(self._line, column, f"{form!r} occurs twice as a {role}; expected it once")
        return forms

    def _scalar(self, kind: str, text: str, column: int) -> Form:
        try:
            return _SCALARS[kind](text)
        except ValueError as error:
            raise Malformed(self._line, column, str(error)) from None


def _string(text: str) -> str:
    return _ESCAPE.sub(_unescaped, text) if "\\" in text else text


def _unescaped(found: re.Match[str]) -> str:
    code = found[1]
    if len(code) == 5:
        return chr(int(code[1:], 16))
    if code not in _ESCAPES:
        raise ValueError(
            f'{found[0]!r} is no escape of a string; expected one of \\t \\r \\n \\b \\f \\" \\\\ \\uXXXX'
        )
    return _ESCAPES[code]


def _number(text: str) -> int | float:
    if _INTEGER.fullmatch(text):
        return int(text.removesuffix("N"))
    if _FLOAT.fullmatch(text):
        return float(text)
    raise ValueError(f"not supported: {text!r} as a number; expected an integer or a float")


def _character(text: str) -> Character:
    if len(text) == 1 or text in _CHARACTERS:
        return Character(_CHARACTERS.get(text, text))
    if re.fullmatch(r"u[0-9A-Fa-f]{4}", text):
        return Character(chr(int(text[1:], 16)))
    raise ValueError(f"{text!r} names no character")


def _symbol(text: str) -> Symbol | bool | None:
    return _SYMBOLS[text] if text in _SYMBOLS else Symbol(text)


def _symbolic(text: str) -> float:
    if text not in _SYMBOLIC:
        raise ValueError(f"not supported: '##{text}'; expected ##Inf, ##-Inf or ##NaN")
    return _SYMBOLIC[text]


_SCALARS: Mapping[str, Callable[[str], Form]] = {
    "character": _character,
    "keyword": Keyword,
    "number": _number,
    "string": _string,
    "symbol": _symbol,
    "symbolic": _symbolic,
}
