"""The temporary folder of a pair of embedded servers: where it lies, who owns it, how leftovers go.

Rules
1.  A folder is called `cacheproof-…` and holds a file `owner`, locked (flock) as long as anybody answers for
    the folder.  The kernel frees the lock when its holder dies, however it dies, in whichever container: a
    folder whose lock is free is a leftover.  A process id would say less; the one in the file is for people.
2.  `sweep` removes leftovers of the same user.  A folder without the file `owner` is not ours and stays,
    unless it is empty.
3.  The path is short, since paths of unix sockets are limited to 107 bytes: where TMPDIR is too long, /tmp.
4.  As root, servers run as user and group "nobody": the group may pass through the folder, and owns
    nothing in it but its own sub-folders.  Nobody else gets in.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from cacheproof.chaos.servers.server import LONGEST_SOCKET_PATH
from cacheproof.chaos.servers.user import server_user
from cacheproof.models.errors import EnvironmentFault

__all__ = ["Folder", "free_space", "make_folder", "remove_folder", "sweep"]

_PREFIX = "cacheproof-"
_OWNER = "owner"
_LONGEST_NAME = len("/cacheproof-12345678/database/.s.PGSQL.5432")
_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder and the descriptor that holds its lock; whoever closes the last copy of it frees the lock."""

    path: Path
    lock_fd: int

    def sub_folder(self, name: str) -> Path:
        """A new folder inside that belongs to the user that servers run as, and to nobody else."""
        path = self.path / name
        user = server_user()
        path.mkdir(mode=0o700)
        if user is not None:
            os.chown(path, user, user)
        return path


def make_folder(within: Path | None = None, *, for_servers: bool = True) -> Folder:
    """A new, locked, empty folder in `within`, or in the system's temporary folder.

    Raises EnvironmentFault if it would be too long for sockets, or cannot be made, or, unless it is not `for_servers`
    to run in, if these cannot run as any user here.
    """
    parent, user = _parent(within), server_user() if for_servers else None
    try:
        for _ in range(_ATTEMPTS):
            folder = _claim(Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent)), user)
            if folder is not None:
                return folder
    except OSError as error:
        raise EnvironmentFault(
            f"no folder for servers can be made in {str(parent)!r} ({free_space(parent)}): {error.strerror}; "
            "set TMPDIR to a folder that may be written to"
        ) from None
    raise EnvironmentFault(f"new folders in {str(parent)!r} vanish; is another program cleaning it up?")


def sweep(within: Path | None = None) -> list[Path]:
    """Remove the leftovers of runs whose supervisor is gone too; returns what was removed.

    Their servers are gone already: the kernel ended them with the supervisor.
    """
    candidates = sorted(_parent(within).glob(_PREFIX + "*"))
    return [path for path in candidates if _is_ours(path) and _remove_leftover(path)]


def remove_folder(path: Path, patience_s: float = 3.0) -> None:
    """Remove a folder in which servers may still be ending; what remains after `patience_s` is left."""
    deadline = time.monotonic() + patience_s
    while path.exists() and time.monotonic() < deadline:
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            time.sleep(0.01)


def free_space(path: Path) -> str:
    """Such as "512 MB free"."""
    try:
        return f"{shutil.disk_usage(path).free // 2**20} MB free"
    except OSError as error:
        return f"free space unknown: {error.strerror}"


def _parent(within: Path | None) -> Path:
    choices = [within] if within is not None else [Path(tempfile.gettempdir()), Path("/tmp")]
    for choice in choices:
        if len(os.fsencode(choice.absolute())) + _LONGEST_NAME <= LONGEST_SOCKET_PATH:
            return choice.absolute()
    raise EnvironmentFault(
        f"folder {str(choices[0])!r} is too long for the sockets of servers: with their names, its path must "
        f"fit into {LONGEST_SOCKET_PATH} bytes; set TMPDIR to a shorter folder"
    )


def _claim(path: Path, user: int | None) -> Folder | None:
    """Put the locked file `owner` into a new folder.  None if a sweep saw it unlocked and was faster."""
    try:
        fd = os.open(path / _OWNER, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_nlink == 0:
            raise BlockingIOError
        os.write(fd, f"process {os.getpid()}\n".encode())
        if user is not None:
            os.chown(path, -1, user)
            path.chmod(0o710)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError:
        os.close(fd)
        shutil.rmtree(path, ignore_errors=True)
        raise
    return Folder(path, fd)


def _is_ours(path: Path) -> bool:
    try:
        status = path.lstat()
    except FileNotFoundError:  # another sweep was faster
        return False
    return path.is_dir() and not path.is_symlink() and status.st_uid == os.geteuid()


def _remove_leftover(path: Path) -> bool:
    try:
        fd = os.open(path / _OWNER, os.O_RDONLY)
    except FileNotFoundError:
        with contextlib.suppress(OSError):  # not empty: somebody else's
            path.rmdir()
        return not path.exists()
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_folder(path)
    except BlockingIOError:  # in use
        return False
    finally:
        os.close(fd)
    return not path.exists()
