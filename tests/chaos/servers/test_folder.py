"""Temporary folders of servers: made locked, swept when nobody holds the lock."""

import fcntl
import os
import stat
import tempfile
from pathlib import Path

import pytest

from cacheproof.chaos.servers.folder import free_space, make_folder, remove_folder, sweep
from cacheproof.chaos.servers.user import server_user
from cacheproof.models.errors import EnvironmentFault


def _left_over(within: Path) -> Path:
    """A folder whose owner has died: the kernel has closed its descriptors."""
    folder = make_folder(within)
    os.close(folder.lock_fd)
    return folder.path


def test_sweep_removes_leftovers_only(open_folder: Path) -> None:
    """A folder whose lock is free goes, with all that is in it; one that is held stays."""
    held, left = make_folder(open_folder), _left_over(open_folder)
    (left / "database").mkdir()
    (left / "database" / "file").touch()
    assert sweep(open_folder) == [left]
    assert list(open_folder.iterdir()) == [held.path]
    os.close(held.lock_fd)
    assert sweep(open_folder) == [held.path]


def test_sweep_leaves_what_is_not_ours(open_folder: Path) -> None:
    """Folders with content but no owner, links, files and other names stay; an empty folder goes."""
    elsewhere = open_folder / "other"
    elsewhere.mkdir()
    target = _left_over(elsewhere)
    (open_folder / "cacheproof-notes" / "mine").mkdir(parents=True)
    (open_folder / "cacheproof-link").symlink_to(target)
    (open_folder / "cacheproof-file").touch()
    (open_folder / "cacheproof-empty").mkdir()
    assert sweep(open_folder) == [open_folder / "cacheproof-empty"]
    kept = {"cacheproof-notes", "cacheproof-link", "cacheproof-file", "other"}
    assert {path.name for path in open_folder.iterdir()} == kept
    assert target.exists()


def test_sweep_leaves_folders_of_other_users(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A leftover of somebody else stays, even where we could remove it."""
    left = _left_over(open_folder)
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    assert sweep(open_folder) == []
    assert left.exists()


def test_a_folder_lost_to_a_sweep_is_made_anew(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep may take a new folder before it is locked; the next attempt succeeds."""
    made: list[str] = []
    mkdtemp = tempfile.mkdtemp

    def swept_twice(*, prefix: str, dir: Path) -> str:
        made.append(mkdtemp(prefix=prefix, dir=dir))
        if len(made) <= 2:
            assert sweep(open_folder) == [Path(made[-1])]
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", swept_twice)
    folder = make_folder(open_folder)
    assert [str(folder.path)] == made[2:]
    os.close(folder.lock_fd)


def test_a_folder_lost_while_it_is_locked(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep that comes between the making of `owner` and its lock wins; the next attempt succeeds."""
    flock, swept = fcntl.flock, list[Path]()

    def sweep_first(fd: int, operation: int) -> None:
        if len(swept) < 2:
            monkeypatch.setattr(fcntl, "flock", flock)
            swept.extend(sweep(open_folder))
            monkeypatch.setattr(fcntl, "flock", sweep_first)
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", sweep_first)
    folder = make_folder(open_folder)
    assert len(swept) == 2 and folder.path not in swept
    assert list(open_folder.iterdir()) == [folder.path]
    os.close(folder.lock_fd)


def test_a_folder_held_by_a_sweep_is_left_to_it(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep that has the lock already removes the folder; another one is made."""
    flock, calls = fcntl.flock, list[int]()

    def held_once(fd: int, operation: int) -> None:
        calls.append(fd)
        if len(calls) == 1:
            raise BlockingIOError
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", held_once)
    folder = make_folder(open_folder)
    left = [path for path in open_folder.iterdir() if path != folder.path]
    assert len(left) == 1
    assert sweep(open_folder) == left
    os.close(folder.lock_fd)


def test_folders_that_always_vanish(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts are limited."""
    monkeypatch.setattr(tempfile, "mkdtemp", lambda **_: str(open_folder / "gone"))
    with pytest.raises(EnvironmentFault, match="vanish"):
        make_folder(open_folder)


def test_folder_is_private(open_folder: Path) -> None:
    """Others cannot enter; as root, the group of the servers can pass, and owns its sub-folder only."""
    folder = make_folder(open_folder)
    part = folder.sub_folder("cache")
    user = server_user()
    status, inner = folder.path.stat(), part.stat()
    assert stat.S_IMODE(status.st_mode) == (0o700 if user is None else 0o710)
    assert status.st_uid == os.geteuid()
    assert stat.S_IMODE(inner.st_mode) == 0o700
    assert inner.st_uid == (os.geteuid() if user is None else user)
    os.close(folder.lock_fd)


def test_long_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where TMPDIR is too long for sockets, folders are made in /tmp; a long `within` is a fault."""
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    folder = make_folder()
    assert folder.path.parent == Path("/tmp")
    os.close(folder.lock_fd)
    remove_folder(folder.path)
    with pytest.raises(EnvironmentFault, match="too long for the sockets.*107 bytes; set TMPDIR"):
        make_folder(long)


def test_folder_that_cannot_be_made(open_folder: Path) -> None:
    """The fault names place, free space, cause and what to do."""
    with pytest.raises(EnvironmentFault, match="No such file or directory; set TMPDIR"):
        make_folder(open_folder / "missing")
    (open_folder / "file").touch()
    with pytest.raises(EnvironmentFault, match="Not a directory"):
        make_folder(open_folder / "file")


def test_folder_that_cannot_be_claimed(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk the half-made folder goes again, and the free space is told."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(EnvironmentFault, match=r"MB free\): No space left on device"):
        make_folder(open_folder)
    assert list(open_folder.iterdir()) == []


def test_free_space_of_nothing(open_folder: Path) -> None:
    """A folder that does not exist has an unknown free space; an existing one a number."""
    assert "unknown" in free_space(open_folder / "missing")
    assert free_space(open_folder).endswith(" MB free")


def test_remove_folder_gives_up(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be removed in time is left; what does not exist is fine."""
    remove_folder(open_folder / "missing")
    (open_folder / "stays").mkdir()
    remove_folder(open_folder / "stays", patience_s=0.0)
    assert (open_folder / "stays").exists()


def test_a_folder_that_no_server_runs_in_needs_no_user_for_them(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user without a name may use servers that are elsewhere."""

    def nobody() -> None:
        raise EnvironmentFault("user 7 has no name")

    monkeypatch.setattr("cacheproof.chaos.servers.folder.server_user", nobody)
    with pytest.raises(EnvironmentFault, match="has no name"):
        make_folder(open_folder)
    folder = make_folder(open_folder, for_servers=False)
    assert folder.path.stat().st_mode & 0o777 == 0o700
    os.close(folder.lock_fd)
