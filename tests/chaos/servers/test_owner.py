"""Whose a container is: nobody is called gone who may still be there."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cacheproof.chaos.servers import owner as module
from cacheproof.chaos.servers.owner import Owner, started_at, this_process

HERE = Owner("m", "b", "n", 1, 2)


def test_this_process_is_here() -> None:
    """Its label reads back, and it is not gone."""
    me = this_process()
    assert Owner.parse(str(me)) == me == this_process()
    assert me.pid == os.getpid() and me.started == started_at(os.getpid())
    assert not me.is_gone(me)


@pytest.mark.parametrize("text", ["", "a.b.c.1", "a.b.c.1.2.3", "a.b.c.x.2", "a.b.c.1.-2", "a.b.c.1.2x"])
def test_other_labels_are_nobodys(text: str) -> None:
    """What was not written by us says nothing."""
    assert Owner.parse(text) is None


def test_who_has_ended_is_gone() -> None:
    """Also while it waits to be buried, and when its process id belongs to somebody else since."""
    me = this_process()
    process = subprocess.Popen(["/bin/sleep", "1000"])
    child = replace(me, pid=process.pid, started=started_at(process.pid) or 0)
    assert not child.is_gone(me)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert started_at(process.pid) == 0
    assert child.is_gone(me)
    process.wait()
    assert child.is_gone(me)
    assert replace(me, started=me.started - 1).is_gone(me)


@pytest.mark.parametrize(
    ("changed", "gone"),
    [
        ({"machine": "other"}, False),
        ({"machine": "other", "boot": "earlier"}, False),
        ({"boot": "earlier"}, True),
        ({"boot": "earlier", "namespace": "other"}, True),
        ({"namespace": "other"}, False),
        ({}, True),
    ],
)
def test_where_one_can_look(changed: dict[str, str], gone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who ran on another machine, or in another namespace, cannot be seen; nobody survives a boot."""

    def no_such(*_: Any) -> None:
        raise ProcessLookupError

    monkeypatch.setattr(os, "kill", no_such)
    assert replace(HERE, **changed).is_gone(HERE) is gone


def test_processes_of_others_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that is forbidden proves a process; where /proc hides it, nothing says that it is another one."""

    def forbidden(*_: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", forbidden)
    monkeypatch.setattr(module, "started_at", lambda _: None)
    assert not HERE.is_gone(HERE)
    monkeypatch.setattr(module, "started_at", lambda _: 3)
    assert HERE.is_gone(HERE)


@pytest.mark.parametrize(("error", "found"), [(FileNotFoundError, None), (ProcessLookupError, 0)])
def test_a_process_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, error: type[OSError], found: int | None
) -> None:
    """Hidden is not ended; one that ended while it was read has."""

    def fail(*_: Any) -> str:
        raise error

    monkeypatch.setattr(Path, "read_text", fail)
    assert started_at(1) == found


def test_a_machine_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images have no machine id; the container's own name tells them apart."""

    def fail(*_: Any) -> str:
        raise FileNotFoundError

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", fail)
        nameless = this_process()
        patch.setattr("socket.gethostname", lambda: "another")
        assert this_process().machine != nameless.machine != this_process()
    assert nameless.boot == "" and Owner.parse(str(nameless)) == nameless
