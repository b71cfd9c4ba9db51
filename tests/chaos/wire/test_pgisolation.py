"""The isolation level of a session, from its words; and what a real server says to the same words."""

import random
from typing import Any

import pytest

from cacheproof.chaos.wire.pgisolation import Isolation, Level
from cacheproof.chaos.wire.pgmessages import query

RC, RR, SER = Level

SAID = {
    "": RC,
    "begin": RC,
    "begin isolation level repeatable read": RR,
    "BEGIN TRANSACTION ISOLATION  LEVEL\nSERIALIZABLE READ ONLY": SER,
    "start transaction read write, isolation level repeatable read": RR,
    "begin; set transaction isolation level serializable": SER,
    "begin isolation level serializable; set transaction isolation level read committed": RC,
    "begin isolation level serializable; commit": RC,
    "begin isolation level serializable; rollback": RC,
    "begin isolation level serializable; savepoint s; rollback to s": SER,
    "begin isolation level serializable; commit; begin": RC,
    "set session characteristics as transaction isolation level serializable": SER,
    "set session characteristics as transaction isolation level serializable; begin": SER,
    "set session characteristics as transaction isolation level serializable; begin isolation level read committed": RC,
    "set default_transaction_isolation = 'repeatable read'": RR,
    "SET default_transaction_isolation TO serializable; begin": SER,
    "set default_transaction_isolation to 'repeatable read'; begin; end": RR,
    "begin; begin isolation level serializable": SER,
    "begin isolation level serializable; begin": SER,
    "set transaction isolation level serializable": RC,
    "begin; set default_transaction_isolation to serializable; rollback": RC,
    "begin; set default_transaction_isolation to serializable; commit": SER,
    "select 'isolation level serializable'": RC,
}


@pytest.mark.parametrize(("said", "expected"), SAID.items())
def test_the_level_after_some_words(said: str, expected: Level) -> None:
    """However they are put, and whether they come one by one or in one text."""
    for texts in ([said], said.split(";")):
        isolation = Isolation()
        isolation.hear(texts)
        assert isolation.highest(["select 1"]) is expected


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, RC),
        ({"options": "-c search_path=x"}, RC),
        ({"options": r"-c default_transaction_isolation=repeatable\ read"}, RR),
        ({"options": "-c default_transaction_isolation=serializable -c x=y"}, SER),
        ({"default_transaction_isolation": "serializable"}, SER),
        ({"default_transaction_isolation": "read committed"}, RC),
    ],
)
def test_a_session_may_start_with_another_default(parameters: dict[str, str], expected: Level) -> None:
    """In its options, or as a parameter of its own."""
    assert Isolation(parameters).highest(["update things set value = 'v1'"]) is expected


def test_a_question_changes_nothing() -> None:
    """What would run at which level is asked before anything is said; the end of a transaction belongs to it."""
    isolation = Isolation()
    assert isolation.highest(["begin isolation level serializable; select 1; commit"]) is SER
    assert isolation.highest(["select 1"]) is RC
    isolation.hear(["begin isolation level repeatable read"])
    assert isolation.highest(["commit"]) is RR
    assert isolation.highest([]) is RC


WORDS = [text for said in SAID for text in said.split(";") if text.strip() and "savepoint" not in text]
NAMES = {"read committed": RC, "repeatable read": RR, "serializable": SER}


def told(network: Any, client: Any, text: str) -> Any:
    """What the server says to a text, whether it waits for a decision or not."""
    client.send(query(text))
    if client.link.head is not None:
        network.deliver()
    return client.messages()


def test_a_real_server_agrees(network: Any, pg: Any) -> None:
    """Whatever is said in whatever order, as long as the server does not refuse it: 60 sessions."""
    chosen = random.Random(5)
    seen = set()
    for _ in range(60):
        client, isolation = network.postgres(), Isolation()
        for text in chosen.choices([*WORDS, "rollback"], k=4):
            answer = told(network, client, text)
            if not any(message.tag == b"E" for message in answer):
                isolation.hear([text])
            shown = pg.values(told(network, client, "show transaction_isolation"))
            if not shown:  # the transaction has failed
                told(network, client, "rollback")
                isolation.hear(["rollback"])
                continue
            assert isolation.highest(["select 1"]) is NAMES[shown[0]], text
            seen.add(shown[0])
        network.wire.reset(client.link)
    assert seen == set(NAMES)
