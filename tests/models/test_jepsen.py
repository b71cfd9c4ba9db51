"""Jepsen's operations become events of ours; whatever does not fit is refused where it stands."""

from dataclasses import replace

import pytest

from cacheproof.models.edn import Form, Keyword
from cacheproof.models.event import Invoked, Returned
from cacheproof.models.jepsen import VOCABULARIES, Happening, JepsenHistory, value_of
from cacheproof.models.malformed import Malformed
from cacheproof.models.operation import Outcome

COLUMNS = {"process": 2, "type": 3, "f": 4, "key": 5, "value": 6, "error": 7}


def lines(*told: tuple[int, str, str, Form]) -> list[Happening]:
    """One happening a line, on the key "k"."""
    return [
        Happening(number, COLUMNS, process, kind, f, "k", value)
        for number, (process, kind, f, value) in enumerate(told, start=1)
    ]


def taken(happenings: list[Happening], asserts: bool = False) -> JepsenHistory:
    found = JepsenHistory(asserts=asserts)
    for happening in happenings:
        found.take(happening)
    return found


def refusal(*happenings: Happening) -> Malformed:
    with pytest.raises(Malformed) as caught:
        taken(list(happenings))
    return caught.value


def test_events_in_the_order_of_the_lines() -> None:
    """Invocations with their arguments, reads with their results."""
    found = taken(
        lines(
            (0, "invoke", "write", 3),
            (1, "invoke", "read", None),
            (0, "ok", "write", 3),
            (1, "ok", "read", 3),
            (2, "invoke", "cas", (3, 4)),
            (2, "ok", "cas", (3, 4)),
        )
    )
    history = found.history()
    assert found.vocabulary is not None and found.vocabulary.model == "cas-register"
    assert (history.initial, history.processes) == ({"k": None}, 3)
    assert history.events[:4] == (
        Invoked(0, 0.0, 0, "write", "k", 3),
        Invoked(1, 0.0, 1, "read", "k", None),
        Returned(2, 0.0, 0, Outcome.OK, None),
        Returned(3, 0.0, 1, Outcome.OK, 3),
    )
    assert [(op.f, op.value, op.result) for op in history.operations] == [
        ("write", 3, None),
        ("read", 3, 3),
        ("cas", (3, 4), True),
    ]


def test_nothing_taken_is_an_empty_history() -> None:
    """Of no vocabulary."""
    found = JepsenHistory(asserts=True)
    assert found.vocabulary is None and found.history().operations == ()


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_the_first_operation_decides_what_the_history_is_of(vocabulary: object) -> None:
    """Its model, what keys hold at first, and our names for the functions."""
    assert vocabulary in VOCABULARIES
    told: dict[str, list[tuple[int, str, str, Form]]] = {
        "cas-register": [(0, "invoke", "write", 1)],
        "key-value": [(0, "invoke", "put", "a"), (1, "invoke", "get", None), (2, "invoke", "append", "b")],
        "mutex": [(0, "invoke", "acquire", None), (1, "invoke", "release", None)],
    }
    names = {
        "cas-register": ["write"],
        "key-value": ["write", "read", "append"],
        "mutex": ["acquire", "release"],
    }
    for model, happenings in told.items():
        found = taken(lines(*happenings))
        assert found.vocabulary is not None and found.vocabulary.model == model
        assert [op.f for op in found.history().operations] == names[model]
        assert found.history().initial == {"k": "" if model == "key-value" else None}


def test_what_is_open_or_unknown_may_still_happen() -> None:
    """An :info and an operation that never returned."""
    found = taken(
        lines(
            (0, "invoke", "write", 1),
            (1, "invoke", "write", 2),
            (1, "info", "write", Keyword("timed-out")),
        )
    )
    assert [(op.outcome, op.returned, op.value) for op in found.history().operations] == [
        (Outcome.INFO, None, 1),
        (Outcome.INFO, None, 2),
    ]


@pytest.mark.parametrize(
    ("f", "argument", "value", "error", "asserts", "outcome", "result"),
    [
        ("cas", (1, 2), (1, 2), None, True, Outcome.OK, False),
        ("cas", (1, 2), (1, 2), ":timeout", True, Outcome.FAIL, None),
        ("cas", (1, 2), Keyword("timed-out"), None, True, Outcome.FAIL, None),
        ("cas", (1, 2), (2, 1), None, True, Outcome.FAIL, None),
        ("cas", (1, 2), (True, 2), None, True, Outcome.FAIL, None),
        ("cas", (1, 2), (1, 2), None, False, Outcome.FAIL, None),
        ("write", 1, 1, None, True, Outcome.FAIL, None),
        ("read", None, Keyword("timed-out"), ":down", True, Outcome.FAIL, None),
    ],
)
def test_what_a_failure_says(
    f: str, argument: Form, value: Form, error: str | None, asserts: bool, outcome: Outcome, result: object
) -> None:
    """Nothing, save that of a compare-and-set where failures are known to be refusals."""
    call, end = lines((0, "invoke", f, argument), (0, "fail", f, value))
    (operation,) = taken([call, replace(end, error=error)], asserts).history().operations
    assert (operation.outcome, operation.result, operation.error) == (outcome, result, error)
    assert operation.returned == 1


def test_an_end_need_not_repeat_the_key() -> None:
    """It is that of the invocation."""
    call, end = lines((0, "invoke", "read", None), (0, "info", "read", None))
    assert taken([call, replace(end, key=None)]).history().operations[0].key == "k"


CALL, END = lines((0, "invoke", "write", 1), (0, "ok", "write", 1))


@pytest.mark.parametrize(
    ("happenings", "place", "what"),
    [
        ([END], (2, 2), "process 0 returns without an invocation; expected :invoke"),
        ([CALL, CALL], (1, 2), "process 0 invokes while its :write of line 1 is open"),
        ([CALL, replace(END, process=1)], (2, 2), "process 1 returns without an invocation"),
        ([CALL, replace(END, f="read")], (2, 4), "'read' returns; expected 'write', invoked in line 1"),
        ([CALL, replace(END, key="l")], (2, 5), "'l' returns; expected 'k', invoked in line 1"),
        ([CALL, replace(END, value=2)], (2, 6), "2 returns; expected the argument, 1"),
        ([CALL, replace(END, value=True)], (2, 6), "True returns; expected the argument, 1"),
        ([CALL, replace(END, value=Keyword("a"))], (2, 6), "not supported: the value :a"),
        ([CALL, replace(END, error="x")], (2, 7), "'x' stands beside the value of an :ok; expected nothing"),
        ([replace(CALL, error="x")], (1, 7), "'x' stands beside the value of an :invoke"),
        ([replace(CALL, key=None)], (1, 5), "an invocation names no key"),
        ([replace(CALL, f="txn")], (1, 4), "not supported: :txn; expected :read :write :cas or :get"),
        ([replace(CALL, f="read")], (1, 6), "1 is given to a :read; expected nil"),
        ([replace(CALL, f="cas")], (1, 6), "1 is given to a :cas; expected [from to]"),
        ([replace(CALL, f="cas", value=(1, 2, 3))], (1, 6), "(1, 2, 3) is given to a :cas"),
        ([replace(CALL, value=(1, frozenset({2})))], (1, 6), "not supported: the value frozenset({2})"),
        ([CALL, END, replace(CALL, f="get", value=None)], (1, 4), "not supported: :get here; expected :read"),
        ([replace(CALL, columns={}, f="txn")], (1, 1), "not supported: :txn"),
    ],
)
def test_what_does_not_fit_is_refused_where_it_stands(
    happenings: list[Happening], place: tuple[int, int], what: str
) -> None:
    """The line, the column of the field that is wrong, and what was expected."""
    found = refusal(*happenings)
    assert (found.line, found.column) == place
    assert what in found.what


@pytest.mark.parametrize("form", [None, True, 1, 1.5, "a", (), (1, ("a", None))])
def test_values(form: Form) -> None:
    """Scalars and vectors of them are values as they are."""
    assert value_of(form) == form
