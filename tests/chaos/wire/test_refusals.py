"""What the wire refuses, and how it says so."""

import pytest

from cacheproof.chaos.wire.refusals import REFUSED_VERBS, in_its_place, refusal
from cacheproof.chaos.wire.resp import Command


@pytest.mark.parametrize(
    "words",
    [
        *(
            "CLIENT REPLY OFF",
            "client reply skip",
            "CLIENT PAUSE 5 WRITE",
            "CLIENT IMPORT-SOURCE OFF",
            "MONITOR",
        ),
        *("SYNC", "PSYNC ? -1", "REPLICAOF NO ONE", "slaveof no one", "SHUTDOWN", "SHUTDOWN NOSAVE"),
    ],
)
def test_what_takes_control_away_is_refused(words: str) -> None:
    """In any case of letters, inside and outside of a transaction; the text names it."""
    command = Command.of(*words.split())
    assert command.name in REFUSED_VERBS
    for in_multi in (False, True):
        text = refusal(command, in_multi=in_multi)
        assert text is not None and text.startswith(f"ERR {command.name}")
        assert "is not supported under cacheproof" in text


@pytest.mark.parametrize(
    "words", ["CLIENT REPLY ON", "CLIENT REPLY", "CLIENT", "CLIENT ID", "GET a", "SUBSCRIBE x"]
)
def test_all_else_is_not(words: str) -> None:
    """Malformed commands are the server's to judge."""
    assert refusal(Command.of(*words.split())) is None


def test_subscribing_is_refused_in_a_transaction_only() -> None:
    """The server's own framing breaks there."""
    assert refusal(Command.of("subscribe", "x"), in_multi=True) is not None
    assert refusal(Command.of("GET", "x"), in_multi=True) is None


def test_the_server_is_told_the_reason_in_its_place() -> None:
    """As a command that it cannot queue, and quotes."""
    text = refusal(Command.of("MONITOR"))
    assert text is not None
    assert in_its_place(text).args == (b"CLIENT", text.removeprefix("ERR ").encode())
    assert len(text) < 128
