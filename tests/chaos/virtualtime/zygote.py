"""The zygote of these tests, a script: imports the test files, installs virtual time and forks clients.

    zygote.py CLOCK_FD LINE_FD TEST_FILE…

A packet on the line is {"file", "name", "arguments", "attached"} with two sockets, the client's ends of a
registrar and of a line for its result.  The client calls the function `name` of a test file and answers
{"pid"}, and later {"value", "error"}.
"""

import importlib.util
import json
import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from cacheproof.chaos import virtualtime
from cacheproof.chaos.clock import RunClock


def load(file: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"scenarios_{Path(file).stem}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def be_client(scenario: Any, request: dict[str, Any], registrar: socket.socket, line: socket.socket) -> None:
    line.send(json.dumps({"pid": os.getpid()}).encode())
    if request["attached"]:
        virtualtime.attach(registrar)
    answer: dict[str, Any] = {"value": None, "error": None}
    try:
        answer["value"] = scenario(*request["arguments"])
    except BaseException:
        answer["error"] = traceback.format_exc()
    line.send(json.dumps(answer).encode())


def main(clock_fd: int, line_fd: int, *files: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # clients are reaped by the system
    modules = {file: load(file) for file in files}
    virtualtime.install(RunClock.attach(clock_fd))
    with socket.socket(fileno=line_fd) as line:
        while serve(line, modules):
            pass


def serve(line: socket.socket, modules: dict[str, ModuleType]) -> bool:
    """Fork one client; False once nobody asks any more."""
    packet, fds, _, _ = socket.recv_fds(line, 65536, 2)
    if not packet:
        return False
    request = json.loads(packet)
    with socket.socket(fileno=fds[0]) as registrar, socket.socket(fileno=fds[1]) as result:
        if os.fork() == 0:
            line.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            be_client(getattr(modules[request["file"]], request["name"]), request, registrar, result)
            os._exit(0)
    return True


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
