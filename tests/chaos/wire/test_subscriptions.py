"""What answers a subscribing command, and what is a message."""

import pytest

from cacheproof.chaos.wire.resp import Command, Reply
from cacheproof.chaos.wire.subscriptions import SUBSCRIBING_VERBS, Subscriptions


def said(*value: bytes | int | None, push: bool = False) -> Reply:
    return Reply(value, b"", push)


def subscribed(*confirmations: tuple[bytes, bytes]) -> Subscriptions:
    found = Subscriptions()
    for count, (kind, name) in enumerate(confirmations, start=1):
        assert found.confirm(said(kind, name, count))
    return found


def test_each_channel_is_confirmed_by_itself() -> None:
    """With names, as many as names; without, as many as are subscribed to, and at least one."""
    books = subscribed((b"subscribe", b"x"), (b"subscribe", b"y"), (b"psubscribe", b"p*"))
    assert books.answers(Command.of("SUBSCRIBE", "x", "z")) == 2
    assert books.answers(Command.of("UNSUBSCRIBE")) == 2
    assert books.answers(Command.of("PUNSUBSCRIBE")) == 1
    assert books.answers(Command.of("SUNSUBSCRIBE")) == 1
    assert books.answers(Command.of("UNSUBSCRIBE", "nowhere")) == 1
    assert books.answers(Command.of("GET", "x")) == 0
    assert all(books.answers(Command.of(name.lower(), "x")) == 1 for name in SUBSCRIBING_VERBS)


def test_what_is_unsubscribed_counts_no_more() -> None:
    """And a confirmation without a name changes nothing."""
    books = subscribed((b"subscribe", b"x"), (b"subscribe", b"y"))
    assert books.confirm(said(b"unsubscribe", b"x", 1))
    assert books.confirm(said(b"unsubscribe", None, 1))
    assert books.answers(Command.of("UNSUBSCRIBE")) == 1
    assert books.is_message(said(b"message", b"y", b"1"))
    assert books.confirm(said(b"unsubscribe", b"y", 0))
    assert not books.is_message(said(b"message", b"y", b"1"))


@pytest.mark.parametrize(
    "reply",
    [said(b"message", b"x", b"1"), said(b"pong", b""), said(), Reply(b"subscribe", b""), said(1, b"x", 1)],
)
def test_what_is_no_confirmation(reply: Reply) -> None:
    """Messages, other replies, and whatever only looks like one."""
    assert not Subscriptions().confirm(reply)


def test_pushes_are_messages_and_arrays_only_where_somebody_subscribed() -> None:
    """A list of three words is a reply on a connection that never subscribed."""
    array, push = said(b"message", b"x", b"1"), said(b"invalidate", (b"k",), push=True)
    assert not Subscriptions().is_message(array)
    assert Subscriptions().is_message(push)
    books = subscribed((b"ssubscribe", b"x"))
    assert all(books.is_message(said(kind, b"x", b"1")) for kind in (b"message", b"pmessage", b"smessage"))
    assert not books.is_message(said(b"pong", b""))
    assert not books.is_message(said())
    assert not books.is_message(Reply(b"message", b""))
