"""The table of errors that servers give instead of doing what they were asked."""

import re
from dataclasses import replace

import pytest

from cacheproof.models.decision import ServerName
from cacheproof.models.refusal import REFUSALS, Meets, Refusal

CACHE = {"busy", "loading", "moved", "oom", "readonly"}


def test_every_server_has_its_errors() -> None:
    """Five of the cache, three of the database."""
    assert {name for name, item in REFUSALS.items() if item.server is ServerName.CACHE} == CACHE
    assert set(REFUSALS) - CACHE == {"deadlock", "serialization", "statement-timeout"}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_codes_are_those_that_drivers_know_them_by(refusal: Refusal) -> None:
    """The first word of a reply in capitals, or a SQLSTATE of five characters; the words stand on one line."""
    form = r"[A-Z]+" if refusal.server is ServerName.CACHE else r"[0-9A-Z]{5}"
    assert re.fullmatch(form, refusal.code)
    assert refusal.words.isprintable() and refusal.when


def test_drivers_tell_them_apart() -> None:
    """redis-py and psycopg have a class of their own for each."""
    redis, errors = pytest.importorskip("redis"), pytest.importorskip("psycopg").errors
    by_code = {
        "BUSY": redis.ResponseError,
        "LOADING": redis.BusyLoadingError,
        "MOVED": redis.exceptions.MovedError,
        "OOM": redis.exceptions.OutOfMemoryError,
        "READONLY": redis.ReadOnlyError,
        "40P01": errors.DeadlockDetected,
        "40001": errors.SerializationFailure,
        "57014": errors.QueryCanceled,
    }
    assert {item.code for item in REFUSALS.values()} == set(by_code)
    assert all(errors.lookup(code) is kind for code, kind in by_code.items() if code[0].isdigit())


def test_what_each_meets() -> None:
    """A read is never out of memory; no two of the cache meet the same."""
    assert REFUSALS["oom"].meets is Meets.GROWTH and REFUSALS["readonly"].meets is Meets.WRITES
    of_the_cache = [REFUSALS[name].meets for name in CACHE]
    assert len(set(of_the_cache)) == len(of_the_cache)
    assert REFUSALS["deadlock"].meets is Meets.LOCKS
    assert replace(REFUSALS["serialization"]).meets is Meets.SNAPSHOTS
