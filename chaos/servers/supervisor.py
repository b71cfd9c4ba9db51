"""The supervisor: parent of the embedded servers.  A program of its own, run as

    python -I -S supervisor.py FOLDER

It inherits the descriptor that holds FOLDER's lock, and keeps it until it ends; servers do not get it.  Its
standard input is one end of a socket pair whose other end only the harness holds.  Requests and answers
are JSON, one a line, each request answered in order:

    {"id": 1, "do": "spawn", "name": …, "argv": […], "cwd": …, "log": …, "user": 65534 or null,
     "farewell": signal, "locks": [path, …]}        →  {"id": 1, "pid": …}
    {"id": 2, "do": "poll", "name": …}              →  {"id": 2, "exit": null or code, negative for a signal}
    {"id": 3, "do": "kill", "name": …}              →  {"id": 3}  when all its processes are gone
    {"id": 4, "do": "stop", "name": …}              →  {"id": 4}  the same, after a farewell signal
    {"id": 5, "do": "pause", "name": …}             →  {"id": 5}  when none of its processes computes any more
    {"id": 6, "do": "resume", "name": …}            →  {"id": 6}
    {"id": 7, "do": "end"}                          →  {"id": 7}  servers stopped, FOLDER removed

A request that fails is answered {"id": …, "error": text}.

Rules
1.  The supervisor is the parent of every server, so a process id that it signals cannot have been used anew:
    it stays taken until the supervisor waits for it.  There is no moment at which a server runs unknown.
2.  End of input means that the harness is gone, however it died: the supervisor does what "end" does.
3.  It is the subreaper of its descendants: what a killed postmaster leaves behind becomes its own child, is
    killed and waited for as well.
4.  If it is killed itself, the kernel sends every server its farewell signal (the supervisor has one thread,
    so PR_SET_PDEATHSIG means what it says).  FOLDER remains and its lock is free; the next start sweeps it.
5.  It runs in a session of its own, and signals that ask it to end go unheard: Ctrl-C and a closing terminal
    concern the harness, whose end concerns the supervisor.

Nothing but the standard library is imported here: `-S` knows no other packages.
"""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

__all__: list[str] = []

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_IPC_RMID = 0
_GRACE_S = 3.0
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
_LIBC = ctypes.CDLL(None, use_errno=True)


class Child:
    """A process that was spawned here, with the processes that it spawned."""

    def __init__(self, process: subprocess.Popen[bytes], farewell: int, locks: list[str]) -> None:
        self.process = process
        self.farewell = farewell
        self.locks = locks
        self.paused = False

    def pause(self) -> None:
        """The main process first, so that it starts no others; then all that there are."""
        if self.process.poll() is not None:
            return
        self.paused = True
        found = [self.process.pid]
        while found:
            for pid in found:
                _stop_and_wait(pid)
            found = [pid for pid, state in _descendants(self.process.pid) if state not in "TZX"]

    def resume(self) -> None:
        """The main process last: it finds its own as they were."""
        if self.paused and self.process.poll() is None:
            for pid, _ in _descendants(self.process.pid):
                _signal(pid, signal.SIGCONT)
            self.process.send_signal(signal.SIGCONT)
        self.paused = False

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """Ask first: PostgreSQL frees its shared memory when it is asked."""
        self.resume()
        if self.process.poll() is None:
            self.process.send_signal(self.farewell)
        deadline = time.monotonic() + _GRACE_S
        while self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        self.kill()


class Supervisor:
    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.children: dict[str, Child] = {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request["do"]:
            case "spawn":
                return self.spawn(request)
            case "poll":
                return {"exit": self.poll(request["name"])}
            case "kill":
                self.finish(request["name"], Child.kill)
            case "stop":
                self.finish(request["name"], Child.stop)
            case "pause":
                self.children[request["name"]].pause()
            case "resume":
                self.children[request["name"]].resume()
            case "end":
                self.end()
            case unknown:
                raise ValueError(f"unknown request {unknown!r}")
        return {}

    def spawn(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            process = _spawn(request)
        except (OSError, subprocess.SubprocessError) as error:
            return {"error": str(error)}
        self.children[request["name"]] = Child(process, request["farewell"], request["locks"])
        return {"pid": process.pid}

    def poll(self, name: str) -> int | None:
        child = self.children[name]
        code = child.process.poll()
        if code is not None:
            self._bury(child)
        return code

    def finish(self, name: str, how: Callable[[Child], None]) -> None:
        if name in self.children:
            child = self.children[name]
            how(child)
            self._bury(child)

    def end(self) -> None:
        for name in self.children:
            self.finish(name, Child.stop)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _bury(self, child: Child) -> None:
        """What a process that did not end by itself leaves behind: descendants, shared memory, lock files."""
        while orphans := self._orphans():
            for pid in orphans:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        for lock in filter(os.path.exists, child.locks):
            _remove_shared_memory(lock)
            os.unlink(lock)

    def _orphans(self) -> list[int]:
        known = {child.process.pid for child in self.children.values()}
        return [pid for pid in _own_children() if pid not in known]


def _spawn(request: dict[str, Any]) -> subprocess.Popen[bytes]:
    user, supervisor = request["user"], os.getpid()

    def tie() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, request["farewell"])
        if os.getppid() != supervisor:
            os._exit(1)

    drop: dict[str, Any] = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    with open(request["log"], "ab") as log:
        return subprocess.Popen(
            request["argv"],
            cwd=request["cwd"],
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=tie,  # noqa: PLW1509  # rule 4: one thread
            **drop,
        )


def _remove_shared_memory(lock: str) -> None:
    """Line 7 of `postmaster.pid` holds key and id of PostgreSQL's System V segment; other locks are shorter."""
    with open(lock) as file:
        lines = file.read().splitlines()
    words = lines[6].split() if len(lines) > 6 else []
    if len(words) == 2 and words[1].isdigit():
        _LIBC.shmctl(int(words[1]), _IPC_RMID, None)


def _own_children() -> list[int]:
    me = os.getpid()
    try:
        with open(f"/proc/{me}/task/{me}/children") as file:
            return [int(pid) for pid in file.read().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return [pid for pid, parent, _ in _processes() if parent == me]


def _descendants(ancestor: int) -> list[tuple[int, str]]:
    """(process id, state) of all children, their children, and so on."""
    everybody = list(_processes())
    found, parents = [], {ancestor}
    while parents:
        children = [(pid, state) for pid, parent, state in everybody if parent in parents]
        found += children
        parents = {pid for pid, _ in children}
    return found


def _stop_and_wait(pid: int) -> None:
    """SIGSTOP, and return when it has had its effect."""
    _signal(pid, signal.SIGSTOP)
    while _state(pid) not in "TZX":
        time.sleep(0.0001)


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # ended while we looked


def _state(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def _processes() -> Iterator[tuple[int, int, str]]:
    """(process id, parent's process id, state) of all processes."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                # The command stands in parentheses and may contain anything; state and parent follow it.
                state, parent = file.read().rpartition(")")[2].split()[:2]
            yield int(name), int(parent), state
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended while we looked


def _requests(fd: int) -> Iterator[dict[str, Any]]:
    pending = b""
    while data := _read(fd):
        *lines, pending = (pending + data).split(b"\n")
        yield from map(json.loads, lines)


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except ConnectionResetError:  # the harness died with an answer unread
        return b""


def _reply(fd: int, answer: dict[str, Any]) -> None:
    try:
        os.write(fd, json.dumps(answer).encode() + b"\n")
    except (BrokenPipeError, ConnectionResetError):
        return  # nobody listens any more; the next read says so


def _serve(supervisor: Supervisor, fd: int) -> None:
    for request in _requests(fd):
        try:
            answer = supervisor.answer(request)
        except Exception:  # the harness is told, and decides
            answer = {"error": traceback.format_exc()}
        _reply(fd, {"id": request["id"], **answer})
        if request["do"] == "end":
            return


def _main(folder: str) -> None:
    os.umask(0o077)
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # not SIG_IGN, which the servers would inherit
    supervisor = Supervisor(folder)
    try:
        _serve(supervisor, 0)
    finally:
        supervisor.end()


if __name__ == "__main__":
    _main(sys.argv[1])
