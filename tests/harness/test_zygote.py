"""The zygote: clients are forked from a process that knows the cache and nothing of the test runner."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.harness.runner import Runner
from cacheproof.harness.world import World
from cacheproof.models.errors import CacheError
from cacheproof.models.schedule import Scenario
from cacheproof.patterns.cache_aside import CacheAside


@contextmanager
def another_thread() -> Iterator[None]:
    """A thread of the harness's process that does nothing."""
    leave = threading.Event()
    thread = threading.Thread(target=leave.wait)
    thread.start()
    try:
        yield
    finally:
        leave.set()
        thread.join()


def final_value(cache: Any, servers: EmbeddedServers) -> Any:
    """What the only read of a run returns."""
    with World(cache, servers) as world:
        run = Runner(world).drive(Scenario(), lambda execution: None)
        assert run.problem is None, run.problem
        return run.history.operations[-1].value


def test_a_class_made_in_a_function_can_be_tested(chaos_servers: EmbeddedServers) -> None:
    """The zygote is a fork: it has everything that the test has."""
    secret = "only in this process"

    class Local:
        def __init__(self, env: Any) -> None: ...

        def read(self, key: str) -> str:
            return secret

    assert final_value(Local, chaos_servers) == secret


def test_where_threads_run_a_fresh_interpreter_imports_the_cache(chaos_servers: EmbeddedServers) -> None:
    """Forking would be unsafe then; the run is the same."""
    with another_thread():
        assert final_value(CacheAside, chaos_servers) == "v1"


def test_where_threads_run_a_local_class_cannot_be_tested(chaos_servers: EmbeddedServers) -> None:
    """It has no name to import it by, and that is said with the way out."""

    class Local: ...

    refused = pytest.raises(
        CacheError, match="cannot be imported by name.*define the cache class at the top level"
    )
    with another_thread(), refused:
        World(Local, chaos_servers)


def test_where_threads_run_an_import_may_fail(chaos_servers: EmbeddedServers) -> None:
    """With the error of the import."""
    gone = type("Gone", (), {"__module__": "not_importable", "__qualname__": "Gone"})
    refused = pytest.raises(CacheError, match=r"cannot import not_importable\.Gone.*ModuleNotFoundError")
    with another_thread(), refused:
        World(gone, chaos_servers)


def test_a_client_knows_nothing_of_the_test_runner(chaos_servers: EmbeddedServers) -> None:
    """Connections that a cache drops are closed without a word; pytest would keep them for its summary."""

    class Asking:
        def __init__(self, env: Any) -> None: ...

        def read(self, key: str) -> bool:
            return sys.unraisablehook is sys.__unraisablehook__ and threading.active_count() == 1

    assert final_value(Asking, chaos_servers) is True


def test_what_clients_print_goes_to_the_log(chaos_servers: EmbeddedServers, capfd: Any) -> None:
    """Standard output and standard error, whoever writes to them; nothing reaches the terminal."""

    class Loud:
        def __init__(self, env: Any) -> None:
            os.write(1, b"from below python\n")

        def read(self, key: str) -> None:
            print("from python", file=sys.stderr)

    with World(Loud, chaos_servers) as world:
        run = Runner(world).drive(Scenario(), lambda execution: None)
    assert run.problem is None
    assert run.output == "from below python\nfrom python\n"
    assert capfd.readouterr() == ("", "")


def test_a_client_has_no_descriptor_of_the_harness(chaos_servers: EmbeddedServers, tmp_path: Path) -> None:
    """A server's pipe that a client held would keep the server alive; a file of the test is not its either."""

    class Looking:
        def __init__(self, env: Any) -> None: ...

        def read(self, key: str) -> str:
            found = []
            for name in os.listdir("/proc/self/fd"):
                try:
                    found.append(os.readlink(f"/proc/self/fd/{name}"))
                except FileNotFoundError:
                    continue
            return " ".join(item for item in found if "pipe:" in item or str(tmp_path) in item)

    with open(tmp_path / "mine", "w"):
        assert final_value(Looking, chaos_servers) == ""
