"""Temporary folders of servers: made locked, swept when nobody holds the lock."""

import fcntl
import os
import tempfile
from pathlib import Path

import pytest

from cacheproof.chaos.servers import folder as module
from cacheproof.chaos.servers.folder import Folder, free_space, make_folder, remove_folder, server_user, sweep
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


def test_sweep_leaves_what_is_not_ours(open_folder: Path, tmp_path: Path) -> None:
    """Folders with content but no owner, links, files and other names stay; an empty folder goes."""
    kept = {open_folder / name for name in ("cacheproof-notes", "cacheproof-link", "cacheproof-file", "other")}
    (open_folder / "cacheproof-notes" / "mine").mkdir(parents=True)
    target = _left_over(tmp_path_short := open_folder / "other") if (open_folder / "other").mkdir() is None else None
    assert target is not None and tmp_path_short.exists()
    (open_folder / "cacheproof-link").symlink_to(target)
    (open_folder / "cacheproof-file").touch()
    (open_folder / "cacheproof-empty").mkdir()
    assert sweep(open_folder) == [open_folder / "cacheproof-empty"]
    assert set(open_folder.iterdir()) == kept
    assert target.exists()
