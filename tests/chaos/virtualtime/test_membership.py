"""chaos.virtualtime.membership: a process belongs to no run, or to one, with a channel for each thread."""

import gc
import socket
import threading

import pytest

from cacheproof.chaos.clock import RunClock, receive_sleeper
from cacheproof.chaos.virtualtime.membership import Membership
from cacheproof.models.errors import HarnessError


def test_outside_any_run() -> None:
    """Without a run there is no clock, and nobody can sleep in virtual time."""
    membership = Membership()
    assert membership.clock is None
    with pytest.raises(HarnessError, match=r"outside any run; attach\(registrar\) comes first"):
        membership.channel()


def test_one_channel_a_thread() -> None:
    """A thread keeps its channel, another has another, and it closes when its thread ends."""
    clock, membership = RunClock.create(), Membership()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        membership.join(clock, lambda: ours)
        assert membership.channel() is membership.channel()
        mine = receive_sleeper(theirs)
        assert mine is not None and mine.name == f"thread {threading.get_native_id()}"
        thread = threading.Thread(target=membership.channel)
        thread.start()
        thread.join()
        gc.collect()
        other = receive_sleeper(theirs)
        assert other is not None and other.name != mine.name
        for sleeper in (mine, other):
            sleeper.receive()
        assert (mine.closed, other.closed) == (False, True)
        mine.close()
    clock.close()
