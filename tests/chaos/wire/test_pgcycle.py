"""How a client's messages are cut into cycles, and what the cycles execute."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproof.chaos.wire.framing import FramingError
from cacheproof.chaos.wire.pgcycle import Cycle, CycleAssembler, Statement, is_copy
from cacheproof.chaos.wire.pgmessages import BackendParser, Message, encode, query

SYNC, FLUSH, TERMINATE = encode(b"S"), encode(b"H"), encode(b"X")
UPDATE, SELECT = "update t set v = $1", "select $1"


def parse(sql: str, name: str = "", *oids: int) -> bytes:
    return encode(b"P", f"{name}\0{sql}\0".encode() + struct.pack(f">H{len(oids)}I", len(oids), *oids))


def bind(*values: bytes | None, name: str = "", portal: str = "", formats: tuple[int, ...] = ()) -> bytes:
    codes = struct.pack(f">H{len(formats)}H", len(formats), *formats)
    sent = b"".join(
        struct.pack(">i", -1) if value is None else struct.pack(">i", len(value)) + value for value in values
    )
    count = struct.pack(">H", len(values))
    return encode(b"B", f"{portal}\0{name}\0".encode() + codes + count + sent + b"\0\0")


def describe(kind: str, name: str = "") -> bytes:
    return encode(b"D", f"{kind}{name}\0".encode())


def execute(portal: str = "") -> bytes:
    return encode(b"E", portal.encode() + b"\0\0\0\0\0")


def close(kind: str, name: str = "") -> bytes:
    return encode(b"C", f"{kind}{name}\0".encode())


def feed(assembler: CycleAssembler, *messages: bytes) -> list[Cycle]:
    found = [assembler.feed(message) for message in BackendParser().feed(b"".join(messages))]
    return [cycle for cycle in found if cycle is not None]


def cycles(*messages: bytes) -> list[Cycle]:
    return feed(CycleAssembler(), *messages)


def test_an_extended_cycle_ends_with_sync() -> None:
    """It is forwarded byte for byte, and executes what was bound."""
    messages = (parse(UPDATE), bind(b"x"), describe("P"), execute(), SYNC)
    assert cycles(*messages) == [Cycle(b"".join(messages), (Statement(UPDATE, ("x",)),), False, "sync")]


def test_the_ends_of_cycles() -> None:
    """Sync, Flush, Query, FunctionCall and Terminate each end one."""
    call = encode(b"F", struct.pack(">IHHH", 2026, 0, 0, 0))
    found = cycles(parse("x"), FLUSH, SYNC, query("select 1"), call, TERMINATE)
    assert [cycle.ends_with for cycle in found] == ["flush", "sync", "query", "function", "terminate"]
    assert [cycle.statements for cycle in found] == [
        *((), ()),
        (Statement("select 1"),),
        (Statement("FUNCTION 2026"),),
        (),
    ]
    assert [cycle.passes for cycle in found] == [True, True, False, False, True]


def test_a_flush_with_nothing_to_flush_goes_with_what_follows() -> None:
    """It is no cycle, and no byte is lost."""
    assembler = CycleAssembler()
    assert feed(assembler, FLUSH) == [] and assembler.pending == FLUSH
    (cycle,) = feed(assembler, FLUSH, SYNC)
    assert cycle.raw == FLUSH + FLUSH + SYNC and assembler.pending == b""


def test_names_of_statements_and_portals_are_resolved() -> None:
    """By what Parse and Bind said last; the unnamed ones too."""
    found = cycles(
        *(parse(SELECT, "s"), parse(UPDATE, "u"), SYNC),
        *(bind(b"1", name="s"), execute(), bind(b"2", name="u", portal="p"), execute("p"), execute(), SYNC),
        *(parse("select 3", "s"), bind(name="s", portal="p"), execute("p"), SYNC),
        *(parse("select 4"), bind(), execute(), SYNC),
    )
    assert [cycle.statements for cycle in found] == [
        (),
        (Statement(SELECT, ("1",)), Statement(UPDATE, ("2",)), Statement(SELECT, ("1",))),
        (Statement("select 3"),),
        (Statement("select 4"),),
    ]


def test_names_that_are_not_known_are_shown() -> None:
    """SQL may have made them (PREPARE, DECLARE); after Close they are unknown again."""
    assembler = CycleAssembler()
    feed(
        assembler,
        parse(SELECT, "s"),
        bind(b"1", name="s", portal="p"),
        close("S", "s"),
        close("P", "p"),
        SYNC,
    )
    assert b"s" not in assembler.session.statements and b"p" not in assembler.session.portals
    (cycle,) = feed(assembler, bind(b"7", name="s"), execute(), execute("p"), bind(), execute(), SYNC)
    assert cycle.statements == (
        Statement("EXECUTE s", ("7",)),
        Statement("FETCH FROM p"),
        Statement("EXECUTE "),
    )
    assert not cycle.passes and set(assembler.session.statements) == {b"s"}


def test_parameters_are_read_by_format_and_declared_type() -> None:
    """Text as text, binary by OID, one format for all or one each; NULL is None."""
    four = struct.pack(">i", 7)
    assembler = CycleAssembler()
    (cycle,) = feed(
        assembler,
        *(parse("x", "", 23, 0), bind(four, four, formats=(1,)), execute()),
        *(bind(b"7", four, None, formats=(0, 1, 0)), execute(), bind(b"a", None), execute(), SYNC),
    )
    assert [statement.parameters for statement in cycle.statements] == [
        ("7", "\\x00000007"),
        ("7", "\\x00000007", None),
        ("a", None),
    ]


@pytest.mark.parametrize(
    ("sql", "passes"),
    [
        ("begin", True),
        ("START TRANSACTION READ ONLY", True),
        ("set x = 1; show x; reset x", True),
        ("discard all; deallocate all", True),
        ("", True),
        ("begin; select 1", False),
        ("select 1", False),
        ("commit", False),
        ("rollback", False),
        ("listen x", False),
        ("unlisten x", False),
    ],
)
def test_what_passes_without_a_decision(sql: str, passes: bool) -> None:
    """Statements that nobody but their own session notices, in both protocols."""
    simple, extended = cycles(query(sql), parse(sql), bind(), execute(), SYNC)
    assert simple.passes is extended.passes is passes
    assert simple.statements == extended.statements == (Statement(sql),)


def test_a_sync_that_commits_is_an_exchange() -> None:
    """After a Flush-ended cycle that executed something, the next end that brings a commit never passes."""
    work = (parse(UPDATE), bind(b"x"), execute(), FLUSH)
    found = cycles(
        *work, parse("begin"), bind(), execute(), FLUSH, SYNC, SYNC, *work, query("set x = 1"), SYNC
    )
    assert [(cycle.ends_with, cycle.passes) for cycle in found] == [
        ("flush", False),
        ("flush", True),
        ("sync", False),
        ("sync", True),
        ("flush", False),
        ("query", False),
        ("sync", True),
    ]
    assert found[2].statements == (Statement("SYNC"),)
    assert found[5].statements == (Statement("set x = 1"), Statement("SYNC"))


def test_a_sync_after_an_error_commits_nothing() -> None:
    """The server has rolled back already when the error was said, so the Sync passes."""
    assembler = CycleAssembler()
    feed(assembler, parse(UPDATE), bind(b"x"), execute(), FLUSH)
    assembler.session.skipping = True
    (cycle,) = feed(assembler, SYNC)
    assert cycle.passes and cycle.statements == ()


def test_the_end_of_a_copy_is_an_exchange() -> None:
    """The Sync behind the data of a COPY in the extended protocol commits it."""
    assembler = CycleAssembler()
    feed(assembler, parse("copy t from stdin"), bind(), execute(), SYNC)
    assembler.session.copying = True
    flushed, synced, last = feed(assembler, FLUSH, SYNC, SYNC)
    assert flushed.passes and flushed.ends_with == "flush"
    assert synced.statements == (Statement("SYNC"),) and not synced.passes
    assert last.passes


def test_a_tracker_knows_the_session() -> None:
    """What a tracker learns is there for the cycles that follow."""
    assembler = CycleAssembler()
    (cycle,) = feed(assembler, SYNC)
    assert assembler.tracker(cycle).feed(Message(b"Z", b"T", b""))
    assert assembler.session.status == "T"


def test_copy_data_are_no_cycle() -> None:
    """They are recognised, and refused where they do not belong."""
    for tag in (b"d", b"c", b"f"):
        message = Message(tag, b"", encode(tag))
        assert is_copy(message)
        with pytest.raises(FramingError, match=f"message {tag!r} of length 4 is no part of a query cycle"):
            CycleAssembler().feed(message)
    assert not is_copy(Message(b"Q", b"", b""))


@pytest.mark.parametrize(
    "broken",
    [
        query("x") + encode(b"Q", b"no end"),
        encode(b"Q", b"x\0more"),
        encode(b"P", b"\0x\0"),
        encode(b"P", b"\0x\0\0\0more"),
        encode(b"P", b"\0x\0\0\1\0"),
        encode(b"B", b"\0\0\0\0\0\1\0\0\0\7x"),
        encode(b"B", b"\0\0\0\0\0\1\0\0\0\x09x\0\0"),
        encode(b"D", b"P"),
        encode(b"D", b""),
        encode(b"E", b"\0"),
        encode(b"C", b"Sx\0y"),
        encode(b"F", b"\0"),
        encode(b"p", b"secret\0"),
    ],
)
def test_messages_that_do_not_read(broken: bytes) -> None:
    """They are FramingErrors that name tag and length."""
    with pytest.raises(FramingError, match=r"message b'.' of length \d+"):
        cycles(broken)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("PBDECSHQFX").map(str.encode), st.binary(max_size=12))))
def test_any_messages_are_cut_or_refused(messages: list[tuple[bytes, bytes]]) -> None:
    """Nothing but FramingError is raised, and no byte is lost or doubled."""
    assembler, sent, forwarded = CycleAssembler(), b"", b""
    for tag, payload in messages:
        raw = encode(tag, payload)
        try:
            cycle = assembler.feed(Message(tag, payload, raw))
        except FramingError:
            return
        sent += raw
        forwarded += cycle.raw if cycle else b""
    assert forwarded + assembler.pending == sent
