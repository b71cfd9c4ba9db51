"""The little that the wire needs to know of SQL text: what it is, whether it may write, which keys it names.

There is no parser here, only PostgreSQL's lexical rules (quotes, dollar quotes, nested comments, words) and
a few tables.  Where they do not suffice the answer is the careful one: `may_write` says yes.

Known limit: a SELECT without a function call in its text counts as a reader, even where a view, a row
security policy or an operator made by somebody calls a function that writes.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

__all__ = ["Statement", "keys_in", "may_write", "verb", "verbs", "words"]

_CACHED_LENGTH = 4096
"""Of longer texts (bulk loads with the data written out) only the last few are remembered."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One executed statement: its text and its parameters as text, None for NULL."""

    sql: str
    parameters: tuple[str | None, ...] = ()


def verb(sql: str) -> str:
    """The first keyword in capitals, behind comments and opening parentheses; "" if there is none.

    For WITH it is the verb of the main statement, or "WITH" when that cannot be told.
    """
    found = verbs(sql)
    return found[0] if found else ""


def verbs(sql: str) -> tuple[str, ...]:
    """The verb of every statement in a text; statements end with a semicolon, empty ones do not count."""
    return _read(sql).verbs


def may_write(sql: str) -> bool:
    """False only for what cannot change rows that others see, True for everything unknown.

    A locking SELECT does not write, COMMIT does (it makes writes visible), and so does a call of any
    function that is not known to be harmless.
    """
    return _read(sql).writes


def keys_in(statement: Statement, keys: Sequence[str]) -> tuple[str, ...]:
    """Which of `keys` the statement names, in their order.

    A key counts if it is a whole parameter or quoted literal, or one element of an array ('{a,b}').
    """
    named = set(_read(statement.sql).literals)
    for parameter in statement.parameters:
        if parameter is not None:
            named.update(_with_elements(parameter))
    return tuple(key for key in keys if key in named)


def words(statement: Statement) -> tuple[str, ...]:
    """The statement for people: its text on one line without comments, then each parameter.

    Comments go because tracing libraries put ids into them, which differ from run to run.
    """
    shown = ("NULL" if parameter is None else parameter for parameter in statement.parameters)
    return (_read(statement.sql).folded, *shown)


class _Facts(NamedTuple):
    """All that is known of one text, from one pass over it."""

    verbs: tuple[str, ...]
    writes: bool
    literals: frozenset[str]
    folded: str


class _Token(NamedTuple):
    """`kind` is word (text in capitals), name (a quoted one), string, symbol or blank."""

    kind: str
    text: str


def _read(sql: str) -> _Facts:
    return _read_cached(sql) if len(sql) <= _CACHED_LENGTH else _read_long(sql)


def _read_facts(sql: str) -> _Facts:
    spelled = list(_tokens(sql))
    tokens = [
        _Token(kind, text.upper() if kind == "word" else text) for kind, text in spelled if kind != "blank"
    ]
    statements = list(_split(tokens))
    return _Facts(
        tuple(_verb(statement) for statement in statements),
        any(_writes(statement) for statement in statements),
        frozenset(
            atom for kind, text in spelled if kind == "string" for atom in _with_elements(_unquote(text))
        ),
        "".join(" " if kind == "blank" else text for kind, text in spelled).strip(),
    )


_read_cached = lru_cache(maxsize=1024)(_read_facts)
_read_long = lru_cache(maxsize=4)(_read_facts)


# --- lexical rules (PostgreSQL documentation, "Lexical Structure") ---

_LEXEME = re.compile(
    r"""
      (?P<blank>  (?: \s++ | --[^\n]*+ )++ )
    | (?P<comment> /\* )
    | (?P<string> [eE]' (?: [^'\\]++ | \\.? | '' )*+ '?
                |     ' (?: [^']++ | '' )*+ '? )
    | (?P<name>   " (?: [^"]++ | "" )*+ "? )
    | (?P<dollar> \$ (?: [^\W\d]\w*+ )? \$ )
    | (?P<number> \$?\d[\w.]*+ )
    | (?P<word>   [^\W\d][\w$]*+ )
    | (?P<symbol> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_ELEMENT = re.compile(r'"((?:[^"\\]++|\\.)*+)"|([^,{}"]++)', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def _tokens(sql: str) -> Iterator[_Token]:
    """Every token as it is spelled; runs of blanks and comments are one blank."""
    position, blank = 0, False
    while lexeme := _LEXEME.match(sql, position):
        kind, text = lexeme.lastgroup or "", lexeme[0]
        if kind == "comment":
            position = _comment_end(sql, lexeme.end())
            kind = "blank"
        elif kind == "dollar":
            end = sql.find(text, lexeme.end())
            position = len(sql) if end < 0 else end + len(text)
            kind, text = "string", sql[lexeme.start() : position]
        else:
            position = lexeme.end()
        if kind != "blank" or not blank:
            yield _Token("symbol" if kind == "number" else kind, text)
        blank = kind == "blank"


def _comment_end(sql: str, position: int) -> int:
    """Where the comment that was opened before `position` ends; comments nest."""
    depth = 1
    while depth and (edge := _COMMENT_EDGE.search(sql, position)):
        depth += 1 if edge[0] == "/*" else -1
        position = edge.end()
    return len(sql) if depth else position


def _unquote(text: str) -> str:
    """The value of a string token."""
    if text[0] == "$":
        tag = text[: text.index("$", 1) + 1]
        return text.removeprefix(tag).removesuffix(tag)
    if text[0] != "'":
        return _ESCAPED.sub(r"\1", text[2:].removesuffix("'").replace("''", "'"))
    return text[1:].removesuffix("'").replace("''", "'")


def _with_elements(text: str) -> Iterator[str]:
    """A value, and its elements if it reads as an array."""
    yield text
    if text.startswith("{") and text.endswith("}"):
        for quoted, plain in _ELEMENT.findall(text):
            yield plain.strip() if plain else _ESCAPED.sub(r"\1", quoted)


# --- statements ---

_ROUTINES = {"FUNCTION", "PROCEDURE"}


def _split(tokens: Sequence[_Token]) -> Iterator[list[_Token]]:
    """Statements, cut at semicolons outside parentheses and outside the body of a routine (BEGIN ATOMIC)."""
    current: list[_Token] = []
    depth = 0
    for token in tokens:
        if token.text == ";" and depth <= 0:
            if current:
                yield current
            current, depth = [], 0
            continue
        current.append(token)
        depth += _nesting(token, current)
    if current:
        yield current


def _nesting(token: _Token, statement: Sequence[_Token]) -> int:
    """+1 for what opens a nested part of the statement that ends in `token`, −1 for what closes one."""
    if token.kind == "symbol":
        return {"(": 1, ")": -1}.get(token.text, 0)
    if token.kind != "word" or token.text not in ("BEGIN", "CASE", "END"):
        return 0
    # Only the body of a routine has statements within (psql's own rule).
    head = {word.text for word in statement[1:4]}
    if statement[0].text != "CREATE" or not head & _ROUTINES:
        return 0
    return -1 if token.text == "END" else 1


_MAIN = {"DELETE", "INSERT", "MERGE", "SELECT", "TABLE", "UPDATE", "VALUES"}
_NAME_FOLLOWS = {",", "RECURSIVE", "WITH"}


def _verb(statement: Sequence[_Token]) -> str:
    first = next((index for index, token in enumerate(statement) if token.text != "("), len(statement) - 1)
    if statement[first] != ("word", "WITH"):
        return statement[first].text
    depth = 0
    for before, token in zip(statement[first:], statement[first + 1 :], strict=False):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        # The name of a common table expression may be a word such as "update".
        if depth == 0 and token.kind == "word" and token.text in _MAIN and before.text not in _NAME_FOLLOWS:
            return token.text
    return "WITH"


# --- what may write ---


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CHANGE_NO_ROWS = _names(
    """
    ABORT BEGIN CLOSE DEALLOCATE DISCARD LISTEN RELEASE RESET ROLLBACK SAVEPOINT SET SHOW START UNLISTEN
    """
)
_READERS = frozenset({"SELECT", "TABLE", "VALUES"})
_WRITERS = frozenset({"DELETE", "INSERT", "INTO", "MERGE"})

# Words that may stand before a parenthesis without being a call.
_NO_CALL = _names(
    """
    ALL AND ANY ARRAY AS BETWEEN BY CASE CROSS DISTINCT ELSE EXCEPT EXISTS FILTER FROM FULL GROUP HAVING
    ILIKE IN INNER INTERSECT IS JOIN LATERAL LEFT LIKE LIMIT MATERIALIZED NATURAL NOT NULL OF OFFSET ON
    OR OUTER OVER RIGHT ROW SELECT SETS SIMILAR SOME THEN TO UNION USING VALUES WHEN WHERE BIT CHAR
    CHARACTER DEC DECIMAL FLOAT INTERVAL NUMERIC TIME TIMESTAMP TIMESTAMPTZ VARBIT VARCHAR
    """
)
# Functions of PostgreSQL itself that change nothing.
_HARMLESS = _names(
    """
    ABS AGE ARRAY_AGG ARRAY_LENGTH ARRAY_POSITION ASCII AVG BIT_LENGTH BOOL_AND BOOL_OR BTRIM
    CARDINALITY CAST CEIL CEILING CHAR_LENGTH CHR CLOCK_TIMESTAMP COALESCE CONCAT CONCAT_WS COUNT
    CURRENT_DATABASE CURRENT_SCHEMA CURRENT_SETTING DATE_PART DATE_TRUNC DECODE DENSE_RANK DIV ENCODE
    EVERY EXP EXTRACT FIRST_VALUE FLOOR FORMAT GENERATE_SERIES GREATEST HASHTEXT INITCAP JSONB_AGG
    JSONB_BUILD_ARRAY JSONB_BUILD_OBJECT JSONB_OBJECT_AGG JSON_AGG JSON_BUILD_ARRAY JSON_BUILD_OBJECT
    JSON_OBJECT_AGG LAG LAST_VALUE LEAD LEAST LENGTH LN LOG LOWER LPAD LTRIM MAX MD5 MIN MOD NOW NULLIF
    OCTET_LENGTH OVERLAY PG_BACKEND_PID PG_SLEEP POSITION POWER RANK REGEXP_REPLACE REPEAT REPLACE
    REVERSE ROUND ROW_NUMBER ROW_TO_JSON RPAD RTRIM SIGN SPLIT_PART SQRT STATEMENT_TIMESTAMP STRING_AGG
    STRPOS SUBSTR SUBSTRING SUM TO_CHAR TO_DATE TO_JSON TO_JSONB TO_NUMBER TO_TIMESTAMP
    TRANSACTION_TIMESTAMP TRIM TRUNC TXID_CURRENT UNNEST UPPER VERSION
    """
)


def _writes(statement: Sequence[_Token]) -> bool:
    """True unless one statement surely changes no row."""
    first = _verb(statement)
    if first in _CHANGE_NO_ROWS:
        # SET CONSTRAINTS … IMMEDIATE runs deferred triggers.
        return first == "SET" and any(token == ("word", "CONSTRAINTS") for token in statement[1:2])
    if first not in _READERS:
        return True
    start = _Token("symbol", "")
    before = [start, start, *statement]
    return any(_changes(*three) for three in zip(before, before[1:], statement, strict=False))


def _changes(earlier: _Token, before: _Token, token: _Token) -> bool:
    """True if `token`, behind two others, makes a reader a writer."""
    if token.kind == "word":
        locks = before.text in ("FOR", "KEY")
        return token.text in _WRITERS or (token.text == "UPDATE" and not locks)
    if token.text != "(" or before.kind not in ("word", "name"):
        return False
    known = before.kind == "word" and (before.text in _NO_CALL or before.text in _HARMLESS)
    # A name of somebody's schema is somebody's function, whatever it is called.
    return not known or earlier.text == "."
