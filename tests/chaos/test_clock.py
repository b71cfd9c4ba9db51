"""chaos.clock: one clock in shared memory, and channels over which sleepers wait for it."""

import contextlib
import errno
import gc
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproof.chaos.clock import RunClock, SleepChannel, Sleeper, receive_sleeper
from cacheproof.models.errors import HarnessError, UsageError

SECOND = 10**9


@pytest.fixture
def clock() -> Iterator[RunClock]:
    clock = RunClock.create()
    yield clock
    clock.close()


Registrar = tuple[socket.socket, socket.socket]


@pytest.fixture
def registrar() -> Iterator[Registrar]:
    """The client's end and the director's."""
    clients, directors = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with clients, directors:
        yield clients, directors


def pair(clock: RunClock, registrar: Registrar) -> tuple[SleepChannel, Sleeper]:
    channel = SleepChannel(clock, registrar[0], "a thread")
    sleeper = receive_sleeper(registrar[1])
    assert sleeper is not None
    return channel, sleeper


def wait_for_deadline(sleeper: Sleeper) -> int:
    """Block until a deadline is announced."""
    while sleeper.deadline_ns is None:
        select.select([sleeper], [], [])
        sleeper.receive()
    return sleeper.deadline_ns


def wait_for_cancellation(sleeper: Sleeper) -> None:
    while sleeper.deadline_ns is not None:
        select.select([sleeper], [], [])
        sleeper.receive()


class Asleep:
    """A call that blocks, in a thread of its own."""

    def __init__(self, call: object, *arguments: object) -> None:
        self.value: object = "still asleep"
        self.thread = threading.Thread(target=self._run, args=(call, arguments))
        self.thread.start()

    def _run(self, call: object, arguments: tuple[object, ...]) -> None:
        try:
            self.value = call(*arguments)  # type: ignore[operator]  # a function in every test
        except SystemExit as ending:
            self.value = str(ending)

    def result(self) -> object:
        self.thread.join()
        return self.value


def test_starts_at_zero_and_moves(clock: RunClock) -> None:
    """A new clock reads 0, and then what the director set."""
    assert clock.now_ns == 0
    clock.set_ns(5 * SECOND)
    assert clock.now_ns == 5 * SECOND


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**62))
def test_every_time_is_kept(now_ns: int) -> None:
    """Every time up to 146 years is read as it was set."""
    clock = RunClock.create()
    clock.set_ns(now_ns)
    assert clock.now_ns == now_ns
    clock.close()


def test_no_time_before_the_start(clock: RunClock) -> None:
    """A negative time is refused, and the clock stays."""
    with pytest.raises(HarnessError, match="no time before its start: -1 ns"):
        clock.set_ns(-1)
    assert clock.now_ns == 0


def test_each_client_s_wall_clock_can_be_off(clock: RunClock) -> None:
    """By its own amount, ahead or behind, until all agree again; time itself does not move."""
    clock.set_ns(5)
    clock.set_skew_ns(0, 3600 * SECOND)
    clock.set_skew_ns(254, -1)
    assert [clock.skew_ns(client) for client in (0, 1, 254)] == [3600 * SECOND, 0, -1]
    assert clock.now_ns == 5
    clock.unskew()
    assert [clock.skew_ns(client) for client in (0, 1, 254)] == [0, 0, 0]


@pytest.mark.parametrize("client", [-1, 255])
def test_a_client_without_a_clock_of_its_own(clock: RunClock, client: int) -> None:
    """There are so many, and no more."""
    with pytest.raises(HarnessError, match=f"client {client} has no clock of its own; there are 255"):
        clock.set_skew_ns(client, 1)


def test_forked_process_sees_the_clock_move(clock: RunClock) -> None:
    """A child reads what its parent sets after the fork."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(reading, 1)
        os._exit(clock.now_ns)
    clock.set_ns(42)
    os.write(writing, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    os.close(reading)
    os.close(writing)


def test_fresh_interpreter_attaches(clock: RunClock) -> None:
    """A program that was handed the descriptor reads the same clock."""
    clock.set_ns(7)
    script = f"from cacheproof.chaos.clock import RunClock; print(RunClock.attach({clock.fd}).now_ns)"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, pass_fds=[clock.fd], capture_output=True, text=True, check=True)
    assert done.stdout == "7\n"


def test_attach_refuses_other_descriptors() -> None:
    """A descriptor without a clock behind it is refused in words."""
    reading, writing = os.pipe()
    with pytest.raises(UsageError, match=f"no clock behind file descriptor {reading}"):
        RunClock.attach(reading)
    os.close(reading)
    os.close(writing)


def test_announcement_and_wake(clock: RunClock, registrar: Registrar) -> None:
    """A sleeper announces its deadline, blocks, and goes on when the clock is there and it is woken."""
    channel, sleeper = pair(clock, registrar)
    assert (sleeper.name, sleeper.deadline_ns, sleeper.closed) == ("a thread", None, False)
    asleep = Asleep(channel.sleep_until, 3 * SECOND)
    assert wait_for_deadline(sleeper) == 3 * SECOND
    clock.set_ns(3 * SECOND)
    sleeper.wake()
    assert asleep.result() is None
    assert sleeper.deadline_ns is None


def test_early_wake_wakes_nobody(clock: RunClock, registrar: Registrar) -> None:
    """A packet before the deadline only makes a sleeper announce it again."""
    channel, sleeper = pair(clock, registrar)
    asleep = Asleep(channel.sleep_until, 3 * SECOND)
    wait_for_deadline(sleeper)
    clock.set_ns(3 * SECOND - 1)
    sleeper.wake()
    assert wait_for_deadline(sleeper) == 3 * SECOND
    assert asleep.value == "still asleep"
    clock.set_ns(3 * SECOND)
    sleeper.wake()
    assert asleep.result() is None


def test_deadline_that_has_passed(clock: RunClock, registrar: Registrar) -> None:
    """Sleeping until now, or until earlier, does not block and announces nothing."""
    channel, sleeper = pair(clock, registrar)
    clock.set_ns(SECOND)
    channel.sleep_until(SECOND)
    assert channel.wait_until(0) is False
    sleeper.receive()
    assert sleeper.deadline_ns is None


def test_ring_ends_a_wait(clock: RunClock, registrar: Registrar) -> None:
    """Another thread ends a wait before its deadline, and the announcement is taken back."""
    channel, sleeper = pair(clock, registrar)
    asleep = Asleep(channel.wait_until, 3 * SECOND)
    wait_for_deadline(sleeper)
    channel.ring()
    assert asleep.result() is True
    wait_for_cancellation(sleeper)


def test_ring_before_a_wait_counts(clock: RunClock, registrar: Registrar) -> None:
    """A ring that comes between the look and the wait is not lost."""
    channel, _sleeper = pair(clock, registrar)
    channel.ring()
    assert channel.wait_until(3 * SECOND) is True


def test_deadline_ends_a_wait(clock: RunClock, registrar: Registrar) -> None:
    """A wait that nobody ends is over at its deadline."""
    channel, sleeper = pair(clock, registrar)
    asleep = Asleep(channel.wait_until, 3 * SECOND)
    wait_for_deadline(sleeper)
    clock.set_ns(4 * SECOND)
    sleeper.wake()
    assert asleep.result() is False


LINE = 6379 << 16 | 40000


def line() -> int:
    return LINE


def silent(clock: RunClock, registrar: Registrar) -> Iterator[tuple[SleepChannel, Sleeper, socket.socket]]:
    """A channel, its sleeper, and a socket at which nothing has come."""
    channel, sleeper = pair(clock, registrar)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield channel, sleeper, ours
        theirs.close()


def test_a_wait_at_a_socket_is_told_only_once_asked(clock: RunClock, registrar: Registrar) -> None:
    """Until the director asks, nobody hears of it; then it says until when, and at which connection."""
    for channel, sleeper, ours in silent(clock, registrar):
        asleep = Asleep(channel.wait_readable, ours.fileno(), 3 * SECOND, line)
        sleeper.receive()
        assert (sleeper.deadline_ns, sleeper.line) == (None, 0)
        assert (clock.ask(), clock.ask()) == (True, False)
        assert (wait_for_deadline(sleeper), sleeper.line) == (3 * SECOND, LINE)
        clock.set_ns(3 * SECOND)
        sleeper.wake()
        assert asleep.result() is False


def test_data_end_a_wait_at_a_socket(clock: RunClock, registrar: Registrar) -> None:
    """Whoever was asked takes its answer back; whoever was not has nothing to take back."""
    channel, sleeper = pair(clock, registrar)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"data")
        assert channel.wait_readable(ours.fileno(), 3 * SECOND, line) is True
        sleeper.receive()
        assert sleeper.deadline_ns is None
        ours.recv(4)
        clock.ask()
        asleep = Asleep(channel.wait_readable, ours.fileno(), 3 * SECOND, line)
        wait_for_deadline(sleeper)
        theirs.sendall(b"more")
        assert asleep.result() is True
        wait_for_cancellation(sleeper)


def test_an_early_wake_does_not_end_a_wait_at_a_socket(clock: RunClock, registrar: Registrar) -> None:
    """It is announced again, until its time has come."""
    for channel, sleeper, ours in silent(clock, registrar):
        clock.ask()
        asleep = Asleep(channel.wait_readable, ours.fileno(), 3 * SECOND, line)
        wait_for_deadline(sleeper)
        sleeper.wake()
        assert wait_for_deadline(sleeper) == 3 * SECOND
        clock.set_ns(4 * SECOND)
        sleeper.wake()
        assert asleep.result() is False


def test_a_question_ends_no_wait_at_a_socket(clock: RunClock, registrar: Registrar) -> None:
    """Not even one whose time has passed: until the director says so, it does not count."""
    for channel, sleeper, ours in silent(clock, registrar):
        asleep = Asleep(channel.wait_readable, ours.fileno(), SECOND, line)
        clock.set_ns(5 * SECOND)
        clock.ask()
        assert wait_for_deadline(sleeper) == SECOND
        sleeper.wake()
        assert asleep.result() is False


def test_who_is_asked_no_more_says_nothing(clock: RunClock, registrar: Registrar) -> None:
    """A question holds until it is taken back, and can be put again."""
    for channel, sleeper, ours in silent(clock, registrar):
        clock.ask_no_more()
        assert clock.ask()
        clock.ask_no_more()
        clock.ask_no_more()
        asleep = Asleep(channel.wait_readable, ours.fileno(), SECOND, line)
        sleeper.receive()
        assert sleeper.deadline_ns is None
        assert clock.ask()
        wait_for_deadline(sleeper)
        clock.set_ns(SECOND)
        sleeper.wake()
        assert asleep.result() is False


def test_without_a_question_everybody_always_answers(clock: RunClock, registrar: Registrar) -> None:
    """A clock that was opened by its memory alone has no means of asking."""
    with contextlib.closing(RunClock.attach(os.dup(clock.fd))) as attached:
        for channel, sleeper, ours in silent(attached, registrar):
            asleep = Asleep(channel.wait_readable, ours.fileno(), 3 * SECOND, line)
            assert (wait_for_deadline(sleeper), sleeper.line) == (3 * SECOND, LINE)
            clock.set_ns(3 * SECOND)
            sleeper.wake()
            assert asleep.result() is False


def test_a_wait_at_a_socket_ends_with_the_director(clock: RunClock, registrar: Registrar) -> None:
    """Nobody is left to move the clock."""
    for channel, sleeper, ours in silent(clock, registrar):
        asleep = Asleep(channel.wait_readable, ours.fileno(), 3 * SECOND, line)
        sleeper.close()
        assert "director of this run is gone" in str(asleep.result())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=20))
def test_last_announcement_counts(deadlines_ns: list[int]) -> None:
    """Of several packets that wait, the last one says whether and until when the party sleeps."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    clock = RunClock.create()
    with ours, theirs:
        channel, sleeper = pair(clock, (ours, theirs))
        for deadline_ns in deadlines_ns:
            channel.announce(deadline_ns) if deadline_ns else channel.cancel()
        sleeper.receive()
        assert sleeper.deadline_ns == (deadlines_ns[-1] or None)
        channel.close()
        sleeper.close()
    clock.close()


def test_event_loops_watch_the_channel(clock: RunClock, registrar: Registrar) -> None:
    """The channel is readable exactly from a wake-up until it is drained."""
    channel, sleeper = pair(clock, registrar)
    assert select.select([channel], [], [], 0)[0] == []
    sleeper.wake()
    assert select.select([channel], [], [], 0)[0] == [channel]
    channel.drain()
    assert select.select([channel], [], [], 0)[0] == []


def test_director_gone_while_asleep(clock: RunClock, registrar: Registrar) -> None:
    """A sleeper whose director goes away ends; it neither hangs nor spins."""
    channel, sleeper = pair(clock, registrar)
    asleep, waiting = Asleep(channel.sleep_until, SECOND), None
    wait_for_deadline(sleeper)
    sleeper.close()
    assert asleep.result() == "the director of this run is gone, so its time stands still for ever"
    channel, sleeper = pair(clock, registrar)
    waiting = Asleep(channel.wait_until, SECOND)
    wait_for_deadline(sleeper)
    sleeper.close()
    assert str(waiting.result()).startswith("the director of this run is gone")


def test_client_gone(clock: RunClock, registrar: Registrar) -> None:
    """The director sees that a party is gone, and may wake it all the same."""
    channel, sleeper = pair(clock, registrar)
    channel.announce(SECOND)
    del channel
    gc.collect()
    sleeper.wake()
    sleeper.receive()
    assert (sleeper.closed, sleeper.deadline_ns, sleeper.fileno()) == (True, None, -1)
    sleeper.wake()
    assert repr(sleeper) == "<Sleeper 'a thread' closed>"


def test_no_channel_waits(registrar: Registrar) -> None:
    """Asking for a channel blocks neither when none waits nor when the client is gone."""
    clients, directors = registrar
    assert receive_sleeper(directors) is None
    clients.close()
    assert receive_sleeper(directors) is None


def test_channels_arrive_in_order_and_are_closed_on_exec(clock: RunClock, registrar: Registrar) -> None:
    """Channels come in the order in which they were made, each with its name, and no program inherits one."""
    channels = [SleepChannel(clock, registrar[0], f"{n}" * 100) for n in range(3)]
    sleepers = [receive_sleeper(registrar[1]) for _ in channels]
    assert [sleeper.name for sleeper in sleepers if sleeper] == [f"{n}" * 64 for n in range(3)]
    for end in (*channels, *sleepers):
        assert end is not None and not os.get_inheritable(end.fileno())


def test_closing_twice(clock: RunClock, registrar: Registrar) -> None:
    """A channel can be closed more than once, and closes no descriptor that is not its own any more."""
    channel, _sleeper = pair(clock, registrar)
    fd = channel.fileno()
    channel.close()
    channel.close()
    with pytest.raises(OSError) as caught:
        os.fstat(fd)
    assert caught.value.errno == errno.EBADF
