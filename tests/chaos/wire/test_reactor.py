"""Callbacks by file descriptor, in one place and in a fixed order."""

import os
from collections.abc import Iterator

import pytest

from cacheproof.chaos.wire.reactor import Reactor


class Pipe:
    """Something readable."""

    def __init__(self) -> None:
        self.fd, self.end = os.pipe()

    def fileno(self) -> int:
        return self.fd


@pytest.fixture
def pipes() -> Iterator[list[Pipe]]:
    """Three pipes."""
    found = [Pipe() for _ in range(3)]
    yield found
    for pipe in found:
        for fd in (pipe.fd, pipe.end):
            os.close(fd)


def test_callbacks_run_in_the_order_of_their_descriptors(pipes: list[Pipe]) -> None:
    """Whatever became readable first, and only those that are readable."""
    reactor, heard = Reactor(), []
    for number, pipe in enumerate(pipes):
        reactor.register(pipe, lambda number=number: heard.append(number))
    assert not reactor.poll()
    for number in (2, 0):
        os.write(pipes[number].end, b"x")
    assert reactor.poll()
    assert heard == [0, 2]
    reactor.close()


def test_a_callback_may_unregister_another(pipes: list[Pipe]) -> None:
    """What was closed by an earlier callback of the same poll is not called."""
    reactor, heard = Reactor(), []

    def first() -> None:
        heard.append("first")
        reactor.unregister(pipes[1].fd)

    reactor.register(pipes[0], first)
    reactor.register(pipes[1], lambda: heard.append("second"))
    for pipe in pipes[:2]:
        os.write(pipe.end, b"x")
    assert reactor.poll()
    assert heard == ["first"]
    reactor.close()


def test_a_descriptor_that_was_taken_again_is_another_source(pipes: list[Pipe]) -> None:
    """A callback that replaces what is behind a number is not followed by the old event."""
    reactor, heard = Reactor(), []

    def first() -> None:
        reactor.unregister(pipes[1].fd)
        reactor.register(pipes[1], lambda: heard.append("new"))

    reactor.register(pipes[0], first)
    reactor.register(pipes[1], lambda: heard.append("old"))
    for pipe in pipes[:2]:
        os.write(pipe.end, b"x")
    reactor.poll()
    assert heard == []
    os.read(pipes[0].fd, 1)
    reactor.poll()
    assert heard == ["new"]
    reactor.close()
