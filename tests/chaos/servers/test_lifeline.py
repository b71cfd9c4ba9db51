"""The harness's end of the supervisor."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cacheproof.chaos.servers import lifeline as module
from cacheproof.chaos.servers.folder import make_folder
from cacheproof.chaos.servers.lifeline import Lifeline, Program
from cacheproof.models.errors import EnvironmentFault, HarnessError

Ended = Callable[[], bool]
Watch = Callable[[int], Ended]


@pytest.fixture
def lifeline() -> Iterator[Lifeline]:
    line = Lifeline(make_folder())
    yield line
    if not line.ended:
        line.end()


def _program(*argv: str, label: str = "it") -> Program:
    return Program(label, "The program", argv, Path("/"), Path("/dev/null"), signal.SIGKILL)


SLEEP = _program("/bin/sleep", "1000")


def _supervisor_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_program_runs_until_it_is_killed(lifeline: Lifeline) -> None:
    """Spawned, running, killed by signal 9."""
    pid = lifeline.spawn(SLEEP)
    assert os.path.exists(f"/proc/{pid}")
    assert lifeline.exit_code("it") is None
    lifeline.kill("it")
    assert lifeline.exit_code("it") == -9
    lifeline.stop("it")


def test_a_paused_program_is_there(lifeline: Lifeline) -> None:
    """Stopped by the kernel, and running again afterwards."""
    pid = lifeline.spawn(SLEEP)
    lifeline.pause("it")
    assert _state(pid) == "T" and lifeline.exit_code("it") is None
    lifeline.resume("it")
    assert _state(pid) != "T"


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_what_cannot_be_started_is_a_fault(lifeline: Lifeline) -> None:
    """The fault carries the title of the program and the cause."""
    with pytest.raises(EnvironmentFault, match="The program cannot be started: .*No such file"):
        lifeline.spawn(_program("/no/such/program"))


def test_an_interrupted_call_does_not_shift_answers(lifeline: Lifeline) -> None:
    """An answer nobody waited for (Ctrl-C came in between) is skipped by the next call."""
    lifeline.spawn(SLEEP)
    os.write(lifeline.fd, b'{"id": -1, "do": "kill", "name": "it"}\n{"id": -2, "do": "poll", "name": "it"}\n')
    assert lifeline.exit_code("it") == -9
    assert lifeline.exit_code("it") == -9


def test_unknown_requests_are_our_fault(lifeline: Lifeline) -> None:
    """A program that was never spawned is a HarnessError, and the supervisor goes on."""
    with pytest.raises(HarnessError, match=r"(?s)failed at 'poll': Traceback.*KeyError: 'never spawned'"):
        lifeline.exit_code("never spawned")
    assert lifeline.spawn(SLEEP)


def test_a_killed_supervisor_is_a_fault(watch: Watch) -> None:
    """Every call after SIGKILL of the supervisor says so; `end` does not fail and leaves no folder."""
    folder = make_folder()
    lifeline = Lifeline(folder)
    supervisor = _supervisor_of(lifeline.spawn(SLEEP))
    ended = watch(supervisor)
    os.kill(supervisor, signal.SIGKILL)
    assert ended()
    with pytest.raises(EnvironmentFault, match=f"process {supervisor}.* is gone.*was it killed"):
        lifeline.exit_code("it")
    lifeline.end()
    assert not folder.path.exists()


def test_a_stopped_supervisor_is_a_fault(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A supervisor that does not answer in time is told apart from one that is gone; `end` gets rid of it."""
    folder = make_folder()
    lifeline = Lifeline(folder)
    pid = lifeline.spawn(SLEEP)
    ended = watch(pid)
    os.kill(_supervisor_of(pid), signal.SIGSTOP)
    monkeypatch.setattr(module, "_PATIENCE_S", 0.05)
    with pytest.raises(EnvironmentFault, match="did not answer .* is it stopped"):
        lifeline.exit_code("it")
    lifeline.end()
    assert ended()
    assert not folder.path.exists()


def test_the_descriptor_is_not_inherited_by_programs(lifeline: Lifeline) -> None:
    """It is closed on exec, so that no program started by the harness keeps servers alive."""
    assert not os.get_inheritable(lifeline.fd)


def test_a_forked_child_can_let_go(watch: Watch) -> None:
    """A child that abandons the lifeline does not keep servers alive, and does not end them either."""
    lifeline = Lifeline(make_folder())
    ended = watch(lifeline.spawn(SLEEP))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        lifeline.abandon()
        lifeline.abandon()
        os.write(writer, b".")
        signal.pause()
    assert os.read(reader, 1) == b"."
    assert lifeline.exit_code("it") is None
    os.close(lifeline.fd)  # as the kernel does when the harness dies
    assert ended()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    lifeline.ended = True
    lifeline._process.wait()
    os.close(reader)
    os.close(writer)
