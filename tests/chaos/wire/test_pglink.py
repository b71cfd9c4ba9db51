"""A session at the database through the wire: start-up, cycles, COPY, cancelling, the end of a session."""

import struct
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from cacheproof.chaos.wire.pglink import REPLICA_OPTIONS
from cacheproof.chaos.wire.pgmessages import (
    cancel_request,
    encode,
    negotiate_protocol_version,
    query,
    startup,
)
from cacheproof.models.decision import ServerName
from cacheproof.models.refusal import REFUSALS

SESSION = {"user": "cacheproof", "database": "records"}
SYNC = encode(b"S")


@pytest.fixture(autouse=True)
def table(network: Any) -> Iterator[None]:
    """things(key, value) with one row."""
    network.direct.query(
        "create table things(key text primary key, value text); insert into things values ('a', 'v0')"
    )
    yield
    network.direct.query("drop table things")


def extended(sql: str) -> bytes:
    """Parse, Bind, Execute and Sync."""
    bind = b"\0\0" + struct.pack(">HHH", 0, 0, 0)
    return (
        encode(b"P", b"\0" + sql.encode() + b"\0" + struct.pack(">H", 0))
        + encode(b"B", bind)
        + encode(b"E", b"\0" + struct.pack(">i", 0))
        + SYNC
    )


# ── start-up ────────────────────────────────────────────────────────────────────────────────────────────────


def test_start_up_is_answered_without_reaching_the_server(network: Any, pg: Any) -> None:
    """The second session of the same kind makes no connection, and is told an id and secret of its own."""
    first = network.postgres()
    sessions = "select count(*) from pg_stat_activity"
    before = network.direct_rows(sessions)
    second = network.postgres()
    assert network.direct_rows(sessions) == before
    assert [m.tag for m in second.greeting] == [m.tag for m in first.greeting]
    assert second.greeting[0].raw == encode(b"R", bytes(4)) and second.greeting[-1].raw == encode(b"Z", b"I")
    assert (pg.key_of(first.greeting), pg.key_of(second.greeting)) == (
        (1, bytes(3) + b"\1"),
        (2, bytes(3) + b"\2"),
    )
    assert network.pending() == [] and second.link.upstream is None


def test_encryption_is_refused_and_the_start_up_follows(network: Any) -> None:
    """N to SSL and to GSS, on the same connection."""
    client = type(network.postgres())(network, ServerName.DATABASE, 0)
    client.send(struct.pack(">II", 8, 80877103))
    assert client.hear() == b"N"
    client.send(struct.pack(">II", 8, 80877104))
    assert client.hear() == b"N"
    client.send(startup(SESSION))
    assert client.tags().endswith("KZ")


def test_parameters_of_the_start_up_are_those_of_the_session(network: Any, pg: Any) -> None:
    """application_name and options get a session of their own kind, before and after others used it."""
    odd = {**SESSION, "application_name": "odd", "options": "-c work_mem=65kB -c search_path=pg_catalog"}
    for _ in range(2):
        client = network.postgres(parameters=odd)
        assert b"application_name\0odd\0" in b"".join(message.payload for message in client.greeting)
        for name, value in (("application_name", "odd"), ("work_mem", "65kB"), ("search_path", "pg_catalog")):
            assert pg.values(client.run(query(f"select current_setting('{name}')"))) == [value]
        assert pg.values(network.postgres().run(query("select current_setting('work_mem')"))) != ["65kB"]
        client.run(query("set work_mem = '70kB'; select 1"))
        network.wire.end()
        network.database.clean()


def test_protocol_3_2_has_a_longer_secret(network: Any, pg: Any) -> None:
    """As the server gives it; 3.0 keeps its four bytes."""
    old, new = network.postgres(), network.postgres(minor=2)
    assert (len(pg.key_of(old.greeting)[1]), len(pg.key_of(new.greeting)[1])) == (4, 32)
    assert pg.values(new.run(query("select value from things"))) == ["v0"]


def test_a_version_that_the_server_does_not_speak_is_negotiated(network: Any) -> None:
    """In the server's own words."""
    client = network.postgres(parameters={**SESSION, "_pq_.odd": "1"}, minor=9)
    assert client.greeting[0].raw == negotiate_protocol_version(2, ("_pq_.odd",))
    assert client.greeting[-1].tag == b"Z"


def test_a_session_that_the_server_refuses_ends_with_its_words(network: Any) -> None:
    """The client sees the error and the end of the connection; nothing else is harmed."""
    client = network.postgres(parameters={**SESSION, "database": "nowhere"})
    assert (
        client.greeting[-1].tag == b"E"
        and b'database "nowhere" does not exist' in client.greeting[-1].payload
    )
    assert not client.is_reset()
    assert network.links() == []


# ── cycles ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_statements_are_held_and_what_nobody_notices_passes(network: Any, pg: Any) -> None:
    """BEGIN and SET are answered at once; SELECT, UPDATE and COMMIT wait, with words, keys and what they do."""
    client = network.postgres()
    assert [m.tag for m in client.say(query("begin"))] == [b"C", b"Z"]
    assert [m.tag for m in client.say(query("set local work_mem = '65kB'"))] == [b"C", b"Z"]
    assert client.say(query("update things set value = 'v1' where key = 'a'")) == []
    (pending,) = network.pending()
    assert (pending.verb, pending.keys, pending.may_write) == ("UPDATE", ("a",), True)
    assert network.deliver() == {"tag": "UPDATE 1"}
    assert client.link.upstream.status == "T"
    client.send(query("select value from things"))
    assert not network.pending()[0].may_write
    assert network.deliver() == {"tag": "SELECT 1", "rows": [["v1"]]}
    assert network.direct_rows("select value from things") == [["v0"]]
    client.messages()
    assert [m.tag for m in client.run(query("commit"))] == [b"C", b"Z"]
    assert network.direct_rows("select value from things") == [["v1"]]


def test_cycles_of_a_pipeline_are_exchanges_of_their_own(network: Any) -> None:
    """Each Sync ends one; they are delivered in order, and an error concerns one of them."""
    client = network.postgres()
    client.send(
        extended("select 1") + extended("select 1/0") + extended("select value from things where key = 'a'")
    )
    replies = []
    for words in ("select 1", "select 1/0", "select value from things where key = 'a'"):
        assert network.words() == [words]
        replies.append(network.deliver())
    assert replies[0] == {"tag": "SELECT 1", "rows": [["1"]]}
    assert replies[1] == {"error": "22012 division by zero"}
    assert replies[2] == {"tag": "SELECT 1", "rows": [["v0"]]}
    assert client.tags() == "12DCZ" + "1EZ" + "12DCZ"


def test_a_long_cycle_does_not_choke_on_its_answers(network: Any) -> None:
    """20,000 statements in one cycle: the server answers while it is still being told."""
    client = network.postgres()
    one = extended("select repeat('x', 100)").removesuffix(SYNC)
    saying = threading.Thread(target=client.socket.sendall, args=(one * 20_000 + SYNC,))
    saying.start()
    network.until(network.pending)
    saying.join()
    answer = network.execute(network.pending()[0])
    assert answer.reply["truncated"] and len(answer.raw) > 20_000 * 100


@pytest.mark.parametrize("minor", [0, 2])
def test_a_cancel_request_cancels_the_statement_of_its_session(network: Any, pg: Any, minor: int) -> None:
    """On a connection of its own, which is closed as the server does; a wrong secret does nothing."""
    client = network.postgres(minor=minor)
    pid, secret = pg.key_of(client.greeting)
    client.send(query("select pg_sleep(30)"))
    (pending,) = network.pending()
    pending.link.transmit(pending)
    pending.delivered = True
    server_pid = client.link.upstream.pid
    network.until(
        lambda: network.direct_rows(
            f"select state from pg_stat_activity where pid = {server_pid} and state = 'active'"
        )
    )
    for wrong in (cancel_request(pid, secret[:-1] + b"x"), cancel_request(pid + 7, secret)):
        canceller = type(client)(network, ServerName.DATABASE, 0)
        canceller.send(wrong)
        assert not canceller.is_reset()
    assert pending.link.collect(pending, 0.05) is None
    canceller = type(client)(network, ServerName.DATABASE, 0)
    canceller.send(cancel_request(pid, secret))
    assert not canceller.is_reset()
    answer = pending.link.collect(pending, None)
    assert answer.reply == {"error": "57014 canceling statement due to user request"}


def test_psycopg_speaks_3_2_and_cancels(network: Any) -> None:
    """The real driver: start-up, a query, and a cancel that waits for the wire to close its connection."""
    found: list[Any] = []

    def work() -> None:
        url = network.url(ServerName.DATABASE) + "&max_protocol_version=3.2"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.cancel_safe(timeout=5)
            found.append(connection.execute("select value from things").fetchone())

    worker = threading.Thread(target=work)
    worker.start()
    network.until(network.pending)
    network.deliver()
    network.until(lambda: not worker.is_alive())
    assert found == [("v0",)]


# ── COPY ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_data_of_a_copy_pass_and_their_end_is_an_exchange(network: Any) -> None:
    """The rows are there when CopyDone is delivered, not before."""
    client = network.postgres()
    assert [m.tag for m in client.run(query("copy things from stdin"))] == [b"G"]
    client.say(encode(b"d", b"b\tx\n") + encode(b"d", b"c\ty\n"))
    assert network.pending() == []
    client.say(encode(b"c"))
    (pending,) = network.pending()
    assert (pending.verb, pending.may_write) == ("COPY DONE", True)
    assert network.direct_rows("select count(*) from things") == [[1]]
    assert network.deliver() == {"tag": "COPY 2"}
    assert client.tags() == "CZ"
    assert network.direct_rows("select count(*) from things") == [[3]]
    assert client.link.release_upstream()


def test_a_copy_that_fails_or_is_given_up_changes_nothing(network: Any) -> None:
    """CopyFail, and a row that the server refuses; the session goes on."""
    client = network.postgres()
    for end, row, error in ((b"f", b"b\tx\n", "57014"), (b"c", b"a\tx\n", "23505")):
        client.run(query("copy things from stdin"))
        client.say(encode(b"d", row) + encode(end, b"no\0" if end == b"f" else b""))
        assert network.deliver()["error"].startswith(error)
        assert client.tags() == "EZ"
    assert network.direct_rows("select count(*) from things") == [[1]]


def test_a_copy_in_the_extended_protocol_takes_effect_at_its_sync(network: Any) -> None:
    """The invitation is the answer to the COPY; data and CopyDone pass; the Sync is held."""
    client = network.postgres()
    assert "".join(m.tag.decode() for m in client.run(extended("copy things from stdin"))) == "12G"
    client.say(encode(b"d", b"b\tx\n") + encode(b"c"))
    assert network.pending() == []
    client.say(SYNC)
    assert network.words() == ["SYNC"]
    assert network.deliver() == {"tag": "COPY 1"}
    assert client.tags() == "CZ"
    assert network.direct_rows("select count(*) from things") == [[2]]


def test_a_copy_out_is_one_exchange(network: Any) -> None:
    """All data come with it."""
    client = network.postgres()
    heard = client.run(query("copy things to stdout"))
    assert "".join(m.tag.decode() for m in heard) == "HdcCZ"
    assert heard[1].payload == b"a\tv0\n"


# ── ends ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_session_that_the_server_ends_is_seen_to_end(network: Any) -> None:
    """A FATAL error, then the end of the connection in order; the session is no more."""
    client = network.postgres()
    client.run(query("select 1"))
    server_pid = client.link.upstream.pid
    heard = client.run(query("select pg_terminate_backend(pg_backend_pid())"))
    assert network.wire.dropped == [server_pid]
    assert heard[-1].tag == b"E" and b"57P01" in heard[-1].payload
    assert not client.is_reset()
    assert network.links() == []
    assert network.postgres().run(query("select 1"))[-1].tag == b"Z"


def test_a_session_that_ended_in_silence_ends_at_the_next_word(network: Any, pg: Any) -> None:
    """What would have passed finds nobody, and the client sees the error and the end."""
    client = network.postgres()
    client.run(query("select 1"))
    server_pid = client.link.upstream.pid
    network.direct.query(f"select pg_terminate_backend({server_pid}, 5000)")
    heard = client.say(query("begin"))
    assert heard[-1].tag == b"E" and b"57P01" in heard[-1].payload
    assert not client.is_reset()


def test_sessions_come_back_clean(network: Any, pg: Any) -> None:
    """Settings, temporary tables and prepared statements of one run are gone in the next; the session is kept."""
    client = network.postgres()
    client.run(query("prepare s as select 1; create temp table t(n int); set work_mem = '65kB'; select 1"))
    server_pid = client.link.upstream.pid
    network.wire.end()
    network.database.clean()
    client = network.postgres()
    assert pg.values(client.run(query("select current_setting('work_mem')"))) != ["65kB"]
    assert client.link.upstream.pid == server_pid
    for gone in ("execute s", "select * from t"):
        assert client.run(query(gone))[0].tag == b"E"


def test_a_session_inside_a_transaction_is_closed_and_named(network: Any) -> None:
    """The director has to know what will be rolled back, and what goes on without its client."""
    client = network.postgres()
    client.say(query("begin"))
    client.run(query("update things set value = 'v1'"))
    server_pid = client.link.upstream.pid
    network.wire.reset(client.link)
    assert (network.wire.dropped, network.wire.abandoned) == ([server_pid], [])
    other = network.postgres()
    other.send(query("select pg_sleep(0.01)"))
    pending = network.pending()[0]
    pending.link.transmit(pending)
    pending.delivered = True
    server_pid = other.link.upstream.pid
    network.wire.reset(other.link)
    assert network.wire.abandoned == [server_pid]


def test_pools_of_odd_sessions_are_given_up(network: Any) -> None:
    """A cache that gives every connection another name does not use up the server's connections."""
    for number in range(30):
        client = network.postgres(parameters={**SESSION, "application_name": f"odd {number}"})
        client.run(query("select 1"))
        network.wire.end()
        network.database.clean()
    assert len(network.database.pools) == 8
    rows = "select count(*) from pg_stat_activity where application_name like 'odd%'"
    network.until(lambda: network.direct_rows(rows)[0][0] <= 8)


def test_a_message_that_is_no_part_of_the_protocol_is_noted(network: Any) -> None:
    """The connection ends, and the note says whose it was and why."""
    client = network.postgres()
    client.send(b"Z\0\0\0\5I")
    assert not client.is_open()
    assert network.wire.broken[0].startswith("client 0 sent the database what is not its protocol")


# ── errors in the place of a reply ──────────────────────────────────────────────────────────────────────────


def met(network: Any) -> set[str]:
    """The errors that could take the place of the exchange that waits."""
    (pending,) = network.pending()
    return {name for name, item in REFUSALS.items() if pending.link.can_refuse(pending, item)} - CACHE_ERRORS


CACHE_ERRORS = {name for name, item in REFUSALS.items() if item.server is ServerName.CACHE}


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select value from things", {"statement-timeout"}),
        ("select value from things FOR no key UPDATE", {"deadlock", "statement-timeout"}),
        ("update things set value = 'v1'", {"deadlock", "statement-timeout"}),
        ("begin; select 1", {"statement-timeout"}),
        ("commit", set()),
        ("end", set()),
        ("rollback", set()),
        ("abort", set()),
    ],
)
@pytest.mark.parametrize("asking", [query, extended])
def test_which_errors_a_statement_can_meet(network: Any, asking: Any, sql: str, expected: set[str]) -> None:
    """A plain SELECT waits for no lock, a COMMIT for no time-out, and giving up always succeeds.

    All of this at READ COMMITTED, where nothing has to be serialized.
    """
    if asking is extended and ";" in sql:
        return  # the extended protocol has one statement at a time
    network.postgres().send(asking(sql))
    assert met(network) == expected


SNAPSHOTS = [
    ("repeatable read", "select value from things", False),
    ("repeatable read", "select value from things for share", True),
    ("repeatable read", "update things set value = 'v1'", True),
    ("repeatable read", "commit", False),
    ("serializable", "select value from things", True),
    ("serializable", "update things set value = 'v1'", True),
    ("serializable", "commit", True),
    ("serializable", "rollback", False),
]


@pytest.mark.parametrize(("level", "sql", "expected"), SNAPSHOTS)
@pytest.mark.parametrize("way", ["begin", "options"])
def test_which_statements_may_fail_to_be_serialized(
    network: Any, way: str, level: str, sql: str, expected: bool
) -> None:
    """Those that change or lock rows, where a snapshot is kept; where all is to be as if serial, any but a rollback."""
    if way == "begin":
        client = network.postgres()
        client.run(query(f"begin isolation level {level}; select 1"))
    else:
        default = f"-c default_transaction_isolation={level}".replace("e r", r"e\ r")
        client = network.postgres(parameters={**SESSION, "options": default})
    client.send(query(sql))
    assert ("serialization" in met(network)) is expected


def test_a_statement_that_would_fail_anyway_meets_no_other_error(network: Any) -> None:
    """After an error in a transaction the server has but one answer."""
    client = network.postgres()
    client.run(query("begin; select 1"))
    client.run(query("select 1 / 0"))
    client.send(query("select value from things"))
    assert met(network) == set()


def test_what_prepares_a_statement_as_well_is_not_refused(network: Any) -> None:
    """It would have been prepared all the same, and be there for the next Bind."""
    client = network.postgres()
    name = encode(b"P", b"s1\0select value from things\0" + struct.pack(">H", 0))
    bind = encode(b"B", b"\0s1\0" + struct.pack(">HHH", 0, 0, 0))
    client.send(name + bind + encode(b"E", b"\0" + struct.pack(">i", 0)) + SYNC)
    assert met(network) == set()
    network.deliver()
    client.messages()
    client.send(bind + encode(b"E", b"\0" + struct.pack(">i", 0)) + SYNC)
    assert "statement-timeout" in met(network)


def test_a_cycle_without_an_end_is_not_refused(network: Any) -> None:
    """Nor is what a Sync would commit that was carried out before."""
    client = network.postgres()
    client.send(extended("select 1").removesuffix(SYNC) + encode(b"H"))
    assert met(network) == set()
    network.deliver()
    client.send(SYNC)
    assert met(network) == set()


def refuse(network: Any, name: str) -> Any:
    """Refuse the exchange that waits; returns what a history has of it."""
    (pending,) = network.pending()
    answer = pending.link.refuse(pending, REFUSALS[name])
    pending.link.send(answer.raw)
    network.wire.finish(pending)
    assert answer.failed
    return answer.reply


@pytest.mark.parametrize("asking", [query, extended])
def test_a_statement_that_is_refused_does_nothing(network: Any, pg: Any, asking: Any) -> None:
    """The client sees the server's own error, and its session goes on."""
    client = network.postgres()
    client.send(asking("update things set value = 'v1'"))
    assert refuse(network, "deadlock")["error"] == "40P01 deadlock detected"
    error, ready = client.messages()
    assert b"C40P01\0" in error.payload and ready.payload == b"I"
    assert pg.values(client.run(asking("select value from things"))) == ["v0"]


def test_a_transaction_in_which_something_was_refused_has_failed(network: Any, pg: Any) -> None:
    """As after any error: nothing more can be done in it, and its COMMIT is a ROLLBACK."""
    client = network.postgres()
    client.run(query("begin; update things set value = 'v1'"))
    client.send(query("update things set value = 'v2'"))
    refuse(network, "serialization")
    assert client.messages()[-1].payload == b"E"
    assert b"25P02" in client.run(query("select 1"))[0].payload
    assert client.run(query("commit"))[0].payload == b"ROLLBACK\0"
    assert network.direct_rows("select value from things") == [["v0"]]


def test_a_commit_that_is_refused_ends_its_transaction(network: Any) -> None:
    """With nothing of it; the session is outside any transaction, and holds no locks."""
    client = network.postgres()
    client.run(query("begin; update things set value = 'v1'"))
    client.send(query("commit"))
    assert refuse(network, "serialization")["error"].startswith("40001 ")
    assert client.messages()[-1].payload == b"I"
    network.direct.query("set lock_timeout = 1; update things set value = 'free'; reset lock_timeout")


def test_the_words_are_the_server_s_own(network: Any) -> None:
    """Of an error that it can be brought to give."""
    client = network.postgres()
    client.run(query("set statement_timeout = 1; select 1"))
    (error,) = [item for item in client.run(query("select pg_sleep(10)")) if item.tag == b"E"]
    refusal = REFUSALS["statement-timeout"]
    assert f"C{refusal.code}\0".encode() in error.payload and f"M{refusal.words}\0".encode() in error.payload


def test_a_replica_is_named_in_the_words_of_an_exchange(network: Any) -> None:
    """By what its session was started with; the statement itself stays as it is."""
    options = {**SESSION, "options": f"{REPLICA_OPTIONS} -c work_mem=70kB"}
    client = network.postgres(parameters=options)
    client.send(query("select 1"))
    assert network.words() == ["/* replica */ select 1"]
    network.deliver()
    assert client.tags() == "TDCZ"
