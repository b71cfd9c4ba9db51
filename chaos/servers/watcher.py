"""Who removes containers when the harness cannot do it any more.  A program of its own, run as

    python -m cacheproof.chaos.servers.watcher PAIR FOLDER

Its standard input is one end of a socket pair whose other end only the harness holds, as with the supervisor of
the embedded servers.  The word "done" means that the harness has removed everything itself.  The end of input
without it means that the harness is gone: then everything of PAIR is removed at the Docker engine.  In both cases
FOLDER goes last, whose lock the watcher has inherited and keeps until then.

It runs in a session of its own and does not hear signals that ask it to end: Ctrl-C and a closing terminal
concern the harness, whose end concerns the watcher.  If it is killed too, the next harness removes what is left
(reaper.py).
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from cacheproof.chaos.servers.folder import Folder, remove_folder
from cacheproof.models.errors import EnvironmentFault

__all__ = ["Watcher", "main"]

_MODULE: Final = "cacheproof.chaos.servers.watcher"
_DONE: Final = b"done"
_PASSES: Final = 20
_PAUSE_S: Final = 0.5
_QUIET_PASSES: Final = 2
_PATIENCE_S: Final = 10.0


class Watcher:
    """The harness's end.  Takes over the lock of `folder`."""

    def __init__(self, pair: str, folder: Folder) -> None:
        self._folder = folder.path
        ours, theirs = socket.socketpair()
        # A bare number: a socket object in a forked child would close the number again, whatever it means by then.
        self.fd = ours.detach()
        self._ended = False
        try:
            self._process = _start(pair, folder, theirs.fileno())
        except OSError as error:
            os.close(self.fd)
            raise EnvironmentFault(f"no process can be started: {error}; free memory or processes") from None
        finally:
            theirs.close()
            os.close(folder.lock_fd)

    def end(self) -> None:
        """Everything has been removed: the watcher may go, and the folder goes with it.  Does not fail."""
        if self._ended:
            return
        with contextlib.suppress(OSError):  # it has been killed
            os.write(self.fd, _DONE)
        self.abandon()
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        remove_folder(self._folder)

    def abandon(self) -> None:
        """For a forked child: let go, without a word to the watcher."""
        if not self._ended:
            self._ended = True
            with contextlib.suppress(OSError):  # the child closed the number itself, as asked
                os.close(self.fd)


def _start(pair: str, folder: Folder, theirs: int) -> subprocess.Popen[bytes]:
    known = os.pathsep.join(os.path.abspath(path) for path in sys.path if path)
    return subprocess.Popen(
        [sys.executable, "-m", _MODULE, pair, str(folder.path)],
        cwd="/",
        env={**os.environ, "PYTHONPATH": known},
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(folder.lock_fd,),
        start_new_session=True,
    )


def main(pair: str, folder: str) -> None:
    """Wait for the harness to end; see the head of the file."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        if _words_of_the_harness() != _DONE:
            _remove(pair)
    finally:
        shutil.rmtree(Path(folder), ignore_errors=True)


def _words_of_the_harness() -> bytes:
    said = b""
    while data := _read():
        said += data
    return said


def _read() -> bytes:
    try:
        return os.read(0, 64)
    except ConnectionResetError:
        return b""


def _remove(pair: str) -> None:
    """Until nothing has come up for a while: the engine may still work on a request of the dead harness."""
    from cacheproof.chaos.servers.engine import connect_engine
    from cacheproof.chaos.servers.reaper import remove_pair

    quiet = 0
    for _ in range(_PASSES):
        with contextlib.suppress(EnvironmentFault):  # tried again, and at last left to the next start
            quiet = 0 if remove_pair(connect_engine(), pair) else quiet + 1
        if quiet == _QUIET_PASSES:
            return
        time.sleep(_PAUSE_S)


if __name__ == "__main__":
    main(*sys.argv[1:])
