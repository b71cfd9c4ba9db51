"""When a reply is complete, and what it said.  Cycles and replies are drawn as the tags of their messages.

A client's cycle: P parse, B bind, D describe (portal), d describe (statement), E execute, C close, and the
end: S sync, H flush, Q query, F function call, X terminate.  A server's answers are its own tags.
"""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproof.chaos.wire.framing import FramingError
from cacheproof.chaos.wire.pgcycle import Cycle, CycleAssembler
from cacheproof.chaos.wire.pgmessages import BackendParser, Message, encode, error_response, query
from cacheproof.chaos.wire.pgreply import CycleResult, ReplyTracker, result_to_json
from cacheproof.chaos.wire.pgsession import Session

CLIENT = {
    "P": encode(b"P", b"s\0select 1\0\0\0"),
    "B": encode(b"B", b"\0s\0\0\0\0\0\0\0"),
    "D": encode(b"D", b"P\0"),
    "d": encode(b"D", b"Ss\0"),
    "E": encode(b"E", b"\0\0\0\0\0"),
    "C": encode(b"C", b"Ss\0"),
    "S": encode(b"S"),
    "H": encode(b"H"),
    "Q": query("select 1"),
    "F": encode(b"F", struct.pack(">IHHH", 2026, 0, 0, 0)),
    "X": encode(b"X"),
}
COLUMN = b"n\0" + struct.pack(">IhIhih", 0, 0, 23, 4, -1, 0)
SERVER = {
    "T": encode(b"T", b"\0\1" + COLUMN),
    "t": encode(b"t", struct.pack(">HI", 1, 23)),
    "D": encode(b"D", struct.pack(">Hi1s", 1, 1, b"7")),
    "C": encode(b"C", b"SELECT 1\0"),
    "Z": encode(b"Z", b"I"),
    "E": error_response("ERROR", "22012", "division by zero"),
    "!": error_response("FATAL", "57P01", "bye"),
    "G": encode(b"G", b"\0\0\0"),
    "H": encode(b"H", b"\0\0\0"),
    "W": encode(b"W", b"\0\0\0"),
    "d": encode(b"d", b"data"),
    **{tag: encode(tag.encode()) for tag in "123nIscVANS"},
}


def answer(tag: str) -> Message:
    (message,) = BackendParser().feed(SERVER[tag])
    return message


def cycle_of(drawing: str, assembler: CycleAssembler) -> Cycle:
    cycle = None
    for tag in drawing:
        (message,) = BackendParser().feed(CLIENT[tag])
        cycle = assembler.feed(message)
    assert cycle is not None
    return cycle


def talk(*dialogue: str) -> list[ReplyTracker]:
    """`"PBES 12CZ"`: each cycle is complete with its last answer and not before; returns the trackers."""
    assembler, trackers = CycleAssembler(), []
    for line in dialogue:
        asked, _, answers = line.partition(" ")
        tracker = assembler.tracker(cycle_of(asked, assembler))
        for tag in answers:
            assert not tracker.complete, f"{line!r} was complete before {tag}"
            assert tracker.feed(answer(tag)) is tracker.complete
        assert tracker.complete, f"{line!r} waits for more"
        trackers.append(tracker)
    return trackers


@pytest.mark.parametrize(
    "dialogue",
    [
        ["PBDES 12TDCZ"],
        ["PBDES 12nCZ"],
        ["S Z", "S Z"],
        ["PdH 1tT", "BES 2DDCZ", "BES 2DCZ"],
        ["PBEH 12DC", "BEH 2DC", "S Z"],
        ["PBEEEES 12DsDsCIZ"],
        ["PCS 13Z", "PCH 13"],
        ["Q TDCTDCCIZ", "Q Z", "Q TCZ"],
        ["F VZ", "F Z"],
        ["X ", "PBEX "],
        ["PBEQ 12DCTDCZ", "PBEF 12CVZ"],
    ],
    ids=" | ".join,
)
def test_a_reply_is_complete_with_its_last_answer(dialogue: list[str]) -> None:
    """Every message of a cycle is answered, and Sync, Query and FunctionCall by ReadyForQuery as well."""
    assert all(tracker.result.error is None for tracker in talk(*dialogue))


@pytest.mark.parametrize(
    "dialogue",
    [
        ["PBES EZ", "PBES 12CZ"],
        ["PBES 12EZ"],
        ["PBES 12CEZ"],
        ["PBEPBES 12C1EZ"],
        ["PBEH 1E", "PBEH ", "Q ", "F ", "PBES Z", "PBEH 12C"],
        ["Q TDEZ", "Q TDCZ"],
        ["F EZ"],
        ["PBEQ E", "S Z"],
        ["PBEF 1E", "S Z"],
        ["PBEQ 12CEZ", "Q CZ"],
    ],
    ids=" | ".join,
)
def test_an_error_ends_the_answers_up_to_the_next_sync(dialogue: list[str]) -> None:
    """A cycle with a Sync still gets its ReadyForQuery; one without is over, and so are those behind it."""
    errors = [tracker.result.error for tracker in talk(*dialogue)]
    assert {"sqlstate": "22012", "message": "division by zero"} in errors


@pytest.mark.parametrize("dialogue", [["PBES 12!"], ["Q T!"], ["PBEH !"], ["S !"], ["PBECS 12GE!"]])
def test_a_fatal_error_is_the_last_word(dialogue: list[str]) -> None:
    """No ReadyForQuery follows a session that has ended; the first error is the one that tells why."""
    (tracker,) = talk(*dialogue)
    first = "22012" if "E!" in dialogue[0] else "57P01"
    assert tracker.result.error is not None and tracker.result.error["sqlstate"] == first
    assert tracker.result.status is None


def test_an_old_server_has_no_untranslated_severity() -> None:
    """Without field V (servers before 9.6) field S says how bad it is."""
    tracker = ReplyTracker(Cycle(b"", (), False, "query"))
    (message,) = BackendParser().feed(encode(b"E", b"SFATAL\0\0"))
    assert tracker.feed(message) and tracker.result.error == {"sqlstate": "", "message": ""}


@pytest.mark.parametrize(
    ("dialogue", "tags"),
    [
        (["Q GCZ"], [("SELECT 1",)]),
        (["Q GEZ"], [()]),
        (["Q HddcCZ"], [("SELECT 1",)]),
        (["PBES 12HddcCZ"], [("SELECT 1",)]),
        (["PBES 12G", "S CZ"], [("COPY",), ("SELECT 1",)]),
        (["PBES 12G", "S EZ", "S Z"], [("COPY",), (), ()]),
        (["PBES 12G", "S Z"], [("COPY",), ()]),
        (["PBEH 12G", "H C", "S Z"], [("COPY",), ("SELECT 1",), ()]),
        (["PBEH 12G", "H E", "S Z"], [("COPY",), (), ()]),
        (["PBES 12G", "PBES C12DCZ"], [("COPY",), ("SELECT 1", "SELECT 1")]),
        (["PBECS 12GEZ"], [()]),
        (["PBES 12W", "S CZ"], [("COPY",), ("SELECT 1",)]),
        (["PBES 12G", "X "], [("COPY",), ()]),
    ],
    ids=str,
)
def test_copy(dialogue: list[str], tags: list[tuple[str, ...]]) -> None:
    """A COPY of the extended protocol is answered with the next Sync or Flush, unless an error came before."""
    assert [tracker.result.tags for tracker in talk(*dialogue)] == tags


def test_the_direction_of_a_copy() -> None:
    """`in_copy` is set by the server's word and cleared by the end of the COPY, however it comes."""
    for drawing, expected in (
        ("GC", ["in", None]),
        ("GE", ["in", None]),
        ("WZ", ["in", None]),
        ("HdcC", ["out", "out", None, None]),
    ):
        tracker = ReplyTracker(Cycle(b"", (), False, "query"))
        found = []
        for tag in drawing:
            tracker.feed(answer(tag))
            found.append(tracker.in_copy)
        assert found == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("NAS"), st.integers(0, 6)), max_size=5))
def test_what_comes_of_the_servers_own_accord_does_not_count(extra: list[tuple[str, int]]) -> None:
    """Notices, notifications and settings anywhere, even behind the end, change nothing."""
    assembler = CycleAssembler()
    tracker = assembler.tracker(cycle_of("PBDES", assembler))
    answers = ["1", "2", "T", "D", "C", "Z"]
    for tag, at in extra:
        answers.insert(at, tag)
    done = [tracker.feed(answer(tag)) for tag in answers]
    assert done == [at >= answers.index("Z") for at in range(len(answers))]
    assert tracker.result == CycleResult(("SELECT 1",), ((7,),), None, "I")


@pytest.mark.parametrize(
    ("asked", "answers"),
    [
        ("PBES", "2"),
        ("PBES", "Z"),
        ("PBES", "12T"),
        ("PBES", "12CZZ"),
        ("PBES", "12CC"),
        ("PBEH", "12CC"),
        ("PBEH", "12Z"),
        ("Q", "1"),
        ("Q", "V"),
        ("F", "D"),
        ("X", "Z"),
        ("S", "C"),
    ],
)
def test_answers_to_nothing_that_was_asked(asked: str, answers: str) -> None:
    """A wrong answer, or one too many, is an error that names it and what is still expected."""
    assembler = CycleAssembler()
    tracker = assembler.tracker(cycle_of(asked, assembler))
    for tag in answers[:-1]:
        tracker.feed(answer(tag))
    with pytest.raises(
        FramingError, match=f"message b'{answers[-1]}' of length .* from the server answers nothing"
    ):
        tracker.feed(answer(answers[-1]))


@pytest.mark.parametrize(
    ("asked", "before", "broken"),
    [
        ("Q", "", encode(b"T", b"\0\1")),
        ("Q", "T", encode(b"D", b"\0\2\0\0\0\1x")),
        ("Q", "T", encode(b"D", b"\0\0")),
        ("Q", "", encode(b"Z", b"\xff")),
        ("dS", "", encode(b"t", b"\0\1\0")),
        ("dS", "", encode(b"t", b"\0\1\0\0\0\0\0")),
    ],
)
def test_answers_that_do_not_read(asked: str, before: str, broken: bytes) -> None:
    """A payload that is none of its kind is a FramingError."""
    assembler = CycleAssembler()
    tracker = assembler.tracker(cycle_of(asked, assembler))
    for tag in before:
        tracker.feed(answer(tag))
    (message,) = BackendParser().feed(broken)
    with pytest.raises(FramingError, match="does not read"):
        tracker.feed(message)


@settings(max_examples=300, deadline=None)
@given(
    st.text(st.sampled_from("PBDdEC"), max_size=5),
    st.sampled_from("SHQFX"),
    st.lists(
        st.tuples(
            st.binary(min_size=1, max_size=1) | st.sampled_from("12tTDCZEnIsGHdcV").map(str.encode),
            st.binary(max_size=8),
        )
    ),
)
def test_any_answers_are_read_or_refused(asked: str, end: str, answers: list[tuple[bytes, bytes]]) -> None:
    """Nothing but FramingError is raised, whatever a server says."""
    assembler = CycleAssembler()
    cycle = cycle_of(f"P{asked}{end}", assembler)
    tracker = assembler.tracker(cycle)
    for tag, payload in answers:
        try:
            tracker.feed(Message(tag, payload, encode(tag, payload)))
        except FramingError:
            return
    result_to_json(tracker.result)


def test_descriptions_are_kept_for_later_cycles() -> None:
    """Columns and parameter types that the server told once serve the cycles that follow."""
    session = Session()
    assembler = CycleAssembler()
    assembler.session = session
    for asked, answers in (("PdH", "1tT"), ("BES", "2DCZ")):
        tracker = assembler.tracker(cycle_of(asked, assembler))
        for tag in answers:
            tracker.feed(answer(tag))
    assert session.statements[b"s"].parameter_oids == (23,)
    assert session.statements[b"s"].columns == ((23, False),)
    assert tracker.result.rows == ((7,),) and session.status == "I"


def test_a_parameter_description_that_nobody_can_use() -> None:
    """Out of place (for a portal) it is read over."""
    (tracker,) = talk("PBDES 12tTDCZ")
    assert tracker.result.rows == ((7,),)


def test_rows_are_decoded_and_cut() -> None:
    """A row whose columns were never described is text; of many rows the first 50 are kept."""
    assert talk("PBES 12DCZ")[0].result.rows == (("7",),)
    assert talk("Q DZ")[0].result.rows == (("7",),)
    exactly, more = talk("Q T" + "D" * 50 + "CZ", "Q T" + "D" * 51 + "CZ")
    assert (len(exactly.result.rows), exactly.result.truncated) == (50, False)
    assert (len(more.result.rows), more.result.truncated) == (50, True)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (CycleResult(("UPDATE 1",)), {"tag": "UPDATE 1"}),
        (CycleResult(("SELECT 1",), (("v1",),)), {"tag": "SELECT 1", "rows": [["v1"]]}),
        (CycleResult(("BEGIN", "SELECT 0")), {"tag": "BEGIN; SELECT 0"}),
        (CycleResult(error={"sqlstate": "40001", "message": "no"}), {"error": "40001 no"}),
        (CycleResult(("BEGIN",), error={"sqlstate": "1", "message": "x"}), {"tag": "BEGIN", "error": "1 x"}),
        (
            CycleResult(("SELECT 2",), ((1,),), truncated=True),
            {"tag": "SELECT 2", "rows": [[1]], "truncated": True},
        ),
        (CycleResult(), {"tag": ""}),
    ],
)
def test_results_as_json(result: CycleResult, expected: object) -> None:
    """Tags joined, rows as lists, the error as one text, and nothing that is not there."""
    assert result_to_json(result) == expected
