"""Requests and replies: what they do to which key and value, and nothing else."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.event import Exchanged, Invoked
from cacheproof.models.history import History
from cacheproof.models.trace import REPLICA_MARK
from cacheproof.reports.requests import Known, brief_request_words, known_of, reply_words, request_words

ONE = Known(frozenset({"user:1"}), frozenset({"v1", "v2"}))
TWO = Known(frozenset({"user:1", "user:2"}), frozenset({"v1", "v2", "v3"}))
SELECT = "select value from records where key = $1"
UPDATE = "update records set value = $1 where key = $2"


def sent(request: str | tuple[str, ...], reply: Any = None, verb: str = "", **more: Any) -> Exchanged:
    words = tuple(request.split()) if isinstance(request, str) else request
    keys = tuple(key for key in ("user:1", "user:2") if key in words)
    return Exchanged(0, 0.0, 0, ServerName.CACHE, verb or words[0], words, keys, reply, **more)


def sql(verb: str, *request: str, reply: Any = None, **more: Any) -> Exchanged:
    keys = tuple(key for key in ("user:1", "user:2") if key in request)
    return Exchanged(0, 0.0, 0, ServerName.DATABASE, verb, request, keys, reply, **more)


@pytest.mark.parametrize(
    ("request_", "words", "brief"),
    [
        ("GET user:1", "GET user:1", "GET"),
        ("SET user:1 v1 EX 300", "SET user:1 v1 EX 300", "SET v1"),
        ("SET lock:user:1 token NX PX 5000", "SET lock:user:1 token NX PX 5000", "SET lock:user:1 token NX"),
        ("BRPOP queue 0", "BRPOP queue", "BRPOP queue"),
        ("BLMOVE queue busy LEFT RIGHT 0", "BLMOVE queue busy", "BLMOVE queue busy"),
        ("XADD log * key user:1 value v2", "XADD log user:1 v2", "XADD log v2"),
        ("XADD log * colour red", "XADD log colour red", "XADD log colour red"),
        ("XREADGROUP GROUP g c COUNT 1 BLOCK 0 STREAMS log >", "XREADGROUP log", "XREADGROUP log"),
        ("XACK log g 1-0", "XACK log", "XACK log"),
        ("EVAL script 1 user:1 v2", "EVAL … user:1 v2", "EVAL … v2"),
        ("SET user:1 ;", "SET user:1 ;", "SET ;"),
        ('LPUSH queue ["user:1","v2"]', "LPUSH queue user:1 v2", "LPUSH queue user:1 v2"),
        ('LPUSH queue {"colour":"red"}', 'LPUSH queue {"colour":"red"}', 'LPUSH queue {"colour":"red"}'),
    ],
)
def test_commands_say_what_they_do(request_: str, words: str, brief: str) -> None:
    """Commands keep their keys and values; time-outs, groups and scripts are left out."""
    assert request_words(sent(request_), ONE) == words
    assert brief_request_words(sent(request_), ONE) == brief


def test_a_replica_is_named() -> None:
    """Behind the words of the statement, which are the same for both."""
    exchange = sql("SELECT", f"{REPLICA_MARK}{SELECT}", "user:1")
    assert request_words(exchange, TWO) == "SELECT … user:1 (replica)"
    assert brief_request_words(exchange, ONE) == "SELECT (replica)"


def test_a_transaction_is_shown_command_by_command() -> None:
    """Several commands sent at once are told apart, also where a value looks like their separator."""
    both = sent("SET user:1 v2 ; XADD log * key user:1 value v2", verb="SET; XADD")
    assert request_words(both, ONE) == "MULTI SET user:1 v2; XADD log user:1 v2"
    framed = sent("MULTI ; SET user:1 ; ; DEL user:2 ; EXEC", verb="MULTI; SET; DEL; EXEC")
    assert request_words(framed, TWO) == "MULTI SET user:1 ;; DEL user:2"


@pytest.mark.parametrize(
    ("exchange", "one_key", "two_keys"),
    [
        (sql("SELECT", SELECT, "user:1"), "SELECT … user:1", "SELECT … user:1"),
        (sql("SELECT", SELECT + " for update", "user:1"), "SELECT … user:1 FOR UPDATE", None),
        (sql("UPDATE", UPDATE, "v2", "user:1"), "UPDATE … := v2", "UPDATE … user:1 := v2"),
        (sql("UPDATE", "update records set value = 'v2' where key = 'user:1'"), "UPDATE … := v2", None),
        (sql("INSERT", "insert into outbox values ($1)", "user:1"), "INSERT outbox user:1", None),
        (sql("DELETE", "delete from public.records where key = $1", "user:1"), "DELETE … user:1", None),
        (sql("COMMIT", "commit"), "COMMIT", "COMMIT"),
        (sql("SELECT", "select  count(*)\nfrom jobs"), "select count(*) from jobs", None),
        (sql("SHOW", "show all"), "show all", "show all"),
    ],
)
def test_sql_is_reduced_to_key_and_value(exchange: Exchanged, one_key: str, two_keys: str | None) -> None:
    """SQL becomes verb, table unless usual, key unless only one, and the value written."""
    assert request_words(exchange, ONE) == one_key
    assert two_keys is None or request_words(exchange, TWO) == two_keys


@pytest.mark.parametrize(
    ("exchange", "words"),
    [
        (sent("GET user:1"), "miss"),
        (sent("GET user:1", "v1"), "v1"),
        (sent("GET user:1", ""), "''"),
        (sent("MGET user:1 user:2", ["v1", None]), "v1, miss"),
        (sent("DEL user:1", 0), "nothing to delete"),
        (sent("DEL user:1", 1), "deleted"),
        (sent("SET user:1 v1 NX"), "refused: exists"),
        (sent("TTL user:1", -2), "no such key"),
        (sent("INCR n", 7), "7"),
        (sent("RPOP queue"), "nothing"),
        (sent("XREADGROUP …", {"log": [["1-0", ["key", "user:1", "value", "v2"]]]}), "user:1 v2"),
        (sent("HGETALL user:1", {}), "nothing"),
        (sent("BRPOP queue 0", ["queue", '["user:1", "v2"]']), "user:1 v2"),
        (sent("LRANGE q 0 1", ["x", "y"]), '["x", "y"]'),
        (sent("SET user:1 v1", {"error": "OOM command\nnot allowed"}), "✗ OOM command\\nnot allowed"),
        (sent("BRPOP queue 0", waits=True), "waits"),
        (sent("DEL user:1", fate=Fate.REPLY_LOST), ""),
        (sql("SELECT", SELECT, reply={"tag": "SELECT 1", "rows": [["v1", 3]]}), "v1 3"),
        (sql("SELECT", SELECT, reply={"tag": "SELECT 0"}), "no row"),
        (sql("SELECT", SELECT, reply={"tag": "SELECT 4", "rows": [["v1"]] * 4}), "4 rows"),
        (sql("UPDATE", UPDATE, reply={"tag": "UPDATE 1"}), "1 row, uncommitted"),
        (sql("INSERT", UPDATE, reply={"tag": "INSERT 0 2"}), "2 rows, uncommitted"),
        (sql("UPDATE", UPDATE, reply={"tag": "UPDATE 0"}), "no row"),
        (sql("ROLLBACK", "rollback", reply={"tag": "ROLLBACK"}), "rolled back"),
        (sql("CALL", "call x()", reply="odd"), "odd"),
    ],
)
def test_replies_say_what_came_of_it(exchange: Exchanged, words: str) -> None:
    """A reply is told by what it means for the key: a miss, a value, nothing to delete, an error."""
    assert reply_words(exchange, ONE) == words


def test_known_are_the_keys_and_values_of_the_run() -> None:
    """Initial values, and keys and values of calls, are recognised; None is no value."""
    history = History({"user:1": "v1"}, (Invoked(0, 0.0, 0, "write", "user:2", "v2"),))
    assert known_of(history) == Known(frozenset({"user:1", "user:2"}), frozenset({"v1", "v2"}))


@pytest.mark.parametrize(
    ("text", "gist"),
    [
        ('["user:1", "v2"]', "user:1 v2"),
        ('{"key": "user:1", "value": "v1"}', "user:1 v1"),
        ('list [["user:1", "v2"], ["user:1", "v1"]]', "list [user:1 v2 v1]"),
        ("list [v2, v1]", "list [v2, v1]"),
        ("stream [value=v1]", "stream [value=v1]"),
        ('["user:12"]', '["user:12"]'),
        ("v1", "v1"),
        ("", ""),
    ],
)
def test_payloads_are_told_by_what_they_speak_of(text: str, gist: str) -> None:
    """Of JSON the known keys and values are left; what holds none, or is no JSON, stays as it is."""
    assert ONE.gist(text) == gist


REPLIES = st.recursive(
    st.none() | st.text(max_size=5) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(ServerName),
    st.sampled_from(["GET", "DEL", "SET; XADD", "SELECT", "MGET", "EVAL", "XADD", ""]) | st.text(max_size=6),
    st.lists(st.text(max_size=6), max_size=5),
    REPLIES,
    st.sampled_from(Fate),
)
def test_every_exchange_has_words(
    server: ServerName, verb: str, request: list[str], reply: Any, fate: Fate
) -> None:
    """No request and no reply raises, whatever a client sends."""
    exchange = Exchanged(0, 0.0, 0, server, verb, tuple(request), (), reply, fate)
    for words in (request_words, brief_request_words, reply_words):
        assert "\n" not in words(exchange, ONE)
