"""The isolation level at which a session's next statement runs, followed from what the session was told.

    at the start     options, or the parameter default_transaction_isolation
    for a session    SET SESSION CHARACTERISTICS AS TRANSACTION …, SET default_transaction_isolation …
    for one          BEGIN …, START TRANSACTION …, SET TRANSACTION …; over with the transaction

Below REPEATABLE READ no statement ever fails to be serialized (PostgreSQL, Transaction Isolation), so whoever wants
to put such an error in the place of a statement has to know.  Where it cannot be told from the words (a default of
the whole database, a SET in a function), the level is taken for READ COMMITTED.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum

__all__ = ["Isolation", "Level"]


class Level(IntEnum):
    """Isolation levels that differ in PostgreSQL, the weakest first."""

    READ_COMMITTED = 0
    REPEATABLE_READ = 1
    SERIALIZABLE = 2


_NAMES = r"(serializable|repeatable\\?\s+read|read\\?\s+(?:un)?committed)"
_BEGINS = re.compile(r"\s*(?:begin|start\s+transaction)\b(?P<modes>.*)", re.IGNORECASE | re.DOTALL)
_SETS = re.compile(r"\s*set\s+(?:local\s+)?transaction\b(?P<modes>.*)", re.IGNORECASE | re.DOTALL)
_COMMITS = re.compile(r"\s*(?:commit|end)\b", re.IGNORECASE)
_ROLLS_BACK = re.compile(r"\s*(?:rollback(?!.*\bto\b)|abort)\b", re.IGNORECASE)
_CHARACTERISTICS = re.compile(r"\s*set\s+session\s+characteristics\b(?P<modes>.*)", re.IGNORECASE | re.DOTALL)
_MODE = re.compile(rf"isolation\s+level\s+{_NAMES}", re.IGNORECASE)
_DEFAULT = re.compile(rf"default_transaction_isolation\s*(?:=|\bto\b)\s*'?{_NAMES}", re.IGNORECASE)


def _level(name: str) -> Level:
    first = name[:3].lower()
    return {"ser": Level.SERIALIZABLE, "rep": Level.REPEATABLE_READ}.get(first, Level.READ_COMMITTED)


def _named(pattern: re.Pattern[str], text: str, otherwise: Level) -> Level:
    found = pattern.search(text)
    return _level(found[1]) if found else otherwise


class Isolation:
    """What one session has been told about isolation."""

    def __init__(self, parameters: Mapping[str, str] | None = None) -> None:
        given = dict(parameters or {})
        named = _named(_DEFAULT, given.get("options", ""), Level.READ_COMMITTED)
        if "default_transaction_isolation" in given:
            named = _level(given["default_transaction_isolation"])
        self._session = self._before = named
        self._transaction: Level | None = None

    def hear(self, statements: Iterable[str]) -> None:
        """Statements that the session was told, one text may be several of them."""
        for _ in self._levels(statements):
            pass

    def highest(self, statements: Iterable[str]) -> Level:
        """The highest level at which any of these would run, were they said next."""
        kept = self._session, self._before, self._transaction
        try:
            return max(self._levels(statements), default=Level.READ_COMMITTED)
        finally:
            self._session, self._before, self._transaction = kept

    def _levels(self, statements: Iterable[str]) -> Iterator[Level]:
        """The level of each statement in turn; what ends a transaction still belongs to it."""
        for text in statements:
            for statement in text.split(";"):
                self._take(statement)
                yield self._session if self._transaction is None else self._transaction
                self._end(statement)

    def _take(self, statement: str) -> None:
        if begun := _BEGINS.match(statement):
            if self._transaction is None:
                self._transaction = self._before = self._session
            self._transaction = _named(_MODE, begun["modes"], self._transaction)
        elif (changed := _SETS.match(statement)) and self._transaction is not None:
            self._transaction = _named(_MODE, changed["modes"], self._transaction)
        elif said := _CHARACTERISTICS.match(statement):
            self._session = _named(_MODE, said["modes"], self._session)
        elif statement.lstrip()[:3].lower() == "set":
            self._session = _named(_DEFAULT, statement, self._session)

    def _end(self, statement: str) -> None:
        """With a transaction that is rolled back, what it set for the session is gone."""
        if self._transaction is not None and _ROLLS_BACK.match(statement):
            self._session, self._transaction = self._before, None
        elif _COMMITS.match(statement):
            self._transaction = None
