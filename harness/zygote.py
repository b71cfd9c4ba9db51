"""The zygote: a clean process from which every client is forked.

It is forked once for each cache under test, before the harness starts any thread; time and chance are patched
in it once, so that a client costs a fork (1.5-2 ms) and nothing else.  Where the harness's process already
runs threads, forking it would be unsafe: then the zygote is a fresh interpreter that imports the cache by
name.

    director → zygote   {"do": "fork", …} with the client's ends of control and registrar lines
                        {"do": "reap", "pid": n}
    zygote → director   {"pid": n} for each fork, {"reaped": exit code} for each reap

Everything ends with the harness: the zygote when its line closes, or its parent dies; its clients with it.
"""

import contextlib
import ctypes
import faulthandler
import functools
import gc
import importlib
import importlib.metadata
import importlib.util
import io
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any, NoReturn

from cacheproof.chaos import chance, virtualtime
from cacheproof.chaos.clock import RunClock
from cacheproof.harness.client import MakeCache, client_main
from cacheproof.harness.environment import Environment
from cacheproof.models.errors import CacheError, HarnessError

__all__ = ["Zygote"]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_MOST_BYTES = 1 << 28
"""How long a file a client may make, so that one that prints for ever does not fill the disk."""

_MAX_PACKET = 1 << 16


class Zygote:
    """The harness's end.  `log` is where everything goes that clients print."""

    def __init__(self, make_cache: MakeCache, clock: RunClock, log: Path) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            if _runs_threads():
                self._pid = _spawn(make_cache, clock, log, theirs)
            else:
                self._pid = _fork(make_cache, clock, log, theirs)
        except BaseException:
            self._line.close()
            raise
        finally:
            theirs.close()
        try:
            self._expect("zygote")
        except BaseException:
            self.close()
            raise

    def fork(
        self, environment: tuple[str, str, str], control: socket.socket, registrar: socket.socket
    ) -> int:
        """Fork a client with its ends of both lines; returns its process id."""
        order = {"do": "fork", "environment": environment}
        packet = json.dumps(order).encode()
        socket.send_fds(self._line, [packet], [control.fileno(), registrar.fileno()])
        return self._expect("pid")

    def reap(self, pid: int) -> int:
        """Wait until a client that was killed, or has ended, is gone; returns its exit code (−n: by signal n)."""
        self._line.send(json.dumps({"do": "reap", "pid": pid}).encode())
        return self._expect("reaped")

    def _expect(self, name: str) -> int:
        """The answer of this name; one to an earlier order, of a call that was interrupted, is passed over."""
        while packet := self._line.recv(_MAX_PACKET):
            answer = json.loads(packet)
            if "unusable" in answer:
                raise CacheError(answer["unusable"])
            if name in answer:
                return int(answer[name])
        raise HarnessError("the process that clients are forked from has died; was it killed?")

    def close(self) -> None:
        """End the zygote and with it all clients."""
        if self._pid == 0:
            return
        self._line.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)
        self._pid = 0


def _runs_threads() -> bool:
    return len(os.listdir("/proc/self/task")) > 1 or threading.active_count() > 1


def _fork(make_cache: MakeCache, clock: RunClock, log: Path, line: socket.socket) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _close_all_but({line.fileno(), clock.fd, clock.question})
        _serve(make_cache, clock, log, line)
        code = 0
    finally:
        os._exit(code)


def _spawn(make_cache: MakeCache, clock: RunClock, log: Path, line: socket.socket) -> int:
    where = _importable(make_cache)
    clock_fds = (clock.fd, clock.question)
    spec = json.dumps({**where, "clock": clock_fds, "line": line.fileno(), "log": str(log), "path": sys.path})
    process = subprocess.Popen(
        [sys.executable, "-c", "from cacheproof.harness.zygote import spawned; spawned()", spec],
        pass_fds=(*clock_fds, line.fileno()),
        stdin=subprocess.DEVNULL,
    )
    process.returncode = 0  # waited for in `close`, not by a finaliser
    return process.pid


def _importable(make_cache: Any) -> dict[str, Any]:
    module, name = getattr(make_cache, "__module__", None), getattr(make_cache, "__qualname__", "<locals>")
    if module is None or "<locals>" in name or "<lambda>" in name:
        raise CacheError(
            f"{name!r} cannot be imported by name, and this process already runs threads, so it cannot be "
            "forked; define the cache class at the top level of a module"
        )
    return {"module": module, "name": name, "file": getattr(sys.modules.get(module), "__file__", None)}


def spawned() -> NoReturn:
    """Entry point of a zygote in a fresh interpreter; `sys.argv[1]` says what to import."""
    spec = json.loads(sys.argv[1])
    sys.path[:] = spec["path"]
    line = socket.socket(fileno=spec["line"])
    _redirect_output(Path(spec["log"]))
    try:
        found = _load(spec)
    except Exception as error:
        told = f"cannot import {spec['module']}.{spec['name']} in a fresh interpreter: {error!r}"
        line.send(json.dumps({"unusable": told}).encode())
        os._exit(1)
    _serve(found, RunClock.attach(*spec["clock"]), Path(spec["log"]), line)
    os._exit(0)


def _load(spec: dict[str, Any]) -> Any:
    try:
        module = importlib.import_module(spec["module"])
    except ImportError:
        if spec["file"] is None:
            raise
        plan = importlib.util.spec_from_file_location(spec["module"], spec["file"])
        assert plan is not None and plan.loader is not None
        module = importlib.util.module_from_spec(plan)
        sys.modules[spec["module"]] = module
        plan.loader.exec_module(module)
    found: Any = module
    for part in spec["name"].split("."):
        found = getattr(found, part)
    return found


# -- inside the zygote -------------------------------------------------------------------------------------


def _close_all_but(kept: set[int]) -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            with contextlib.suppress(OSError):
                os.close(int(name))


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _serve(make_cache: MakeCache, clock: RunClock, log: Path, line: socket.socket) -> None:
    _die_with_parent()
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the harness's business; it closes the line
    _redirect_output(log)
    _forget_test_runner()
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, _MOST_BYTES)
    faulthandler.enable(file=sys.stderr, all_threads=True)
    faulthandler.register(signal.SIGUSR1, file=sys.stderr, all_threads=True)
    virtualtime.install(clock)
    chance.install()
    _remember_versions()
    gc.collect()
    gc.freeze()
    line.send(json.dumps({"zygote": os.getpid()}).encode())
    children: set[int] = set()
    try:
        while _obey(make_cache, line, children):
            pass
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        _end_orphans(set())


def _limit(what: int, most: int) -> None:
    hard = resource.getrlimit(what)[1]
    resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _end_orphans(children: set[int]) -> None:
    """End what clients that are gone have left behind: as their subreaper, we have become its parent."""
    while orphans := _own_children() - children:
        for pid in orphans:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _own_children() -> set[int]:
    me = os.getpid()
    try:
        with open(f"/proc/{me}/task/{me}/children") as file:
            return {int(pid) for pid in file.read().split()}
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return set()


def _remember_versions() -> None:
    """Packages stay as they are while the zygote lives, and redis-py asks for its version at every connection.

    Reading it from disk each time is a third of what connecting costs a client.
    """
    importlib.metadata.version = functools.cache(importlib.metadata.version)


def _forget_test_runner() -> None:
    """What pytest does about objects that are dropped while still open keeps them, and so their connections."""
    warnings.simplefilter("ignore", ResourceWarning)
    sys.unraisablehook = sys.__unraisablehook__
    threading.excepthook = threading.__excepthook__


def _redirect_output(log: Path) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    os.close(null)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - for the life of the process
    sys.stdout, sys.stderr = _unbuffered(1), _unbuffered(2)


def _unbuffered(fd: int) -> io.TextIOWrapper:
    """What a client prints has to be there when it is killed, lines without an end included."""
    raw = open(fd, "wb", buffering=0, closefd=False)  # noqa: SIM115 - for the life of the process
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", write_through=True)


def _obey(make_cache: MakeCache, line: socket.socket, children: set[int]) -> bool:
    packet, fds, _, _ = socket.recv_fds(line, _MAX_PACKET, 2)
    if not packet:
        return False
    order = json.loads(packet)
    if order["do"] == "reap":
        _, status = os.waitpid(order["pid"], 0)
        children.discard(order["pid"])
        _end_orphans(children)
        line.send(json.dumps({"reaped": os.waitstatus_to_exitcode(status)}).encode())
        return True
    pid = os.fork()
    if pid == 0:
        line.close()
        _die_with_parent()
        _become_client(make_cache, order, fds)
    for fd in fds:
        os.close(fd)
    children.add(pid)
    line.send(json.dumps({"pid": pid}).encode())
    return True


def _become_client(make_cache: MakeCache, order: dict[str, Any], fds: list[int]) -> NoReturn:
    control, registrar = (socket.socket(fileno=fd) for fd in fds)
    redis_url, database_url, name = order["environment"]
    environment = Environment(redis_url, database_url, name, clock=time.time)
    client_main(make_cache, environment, control, registrar)
