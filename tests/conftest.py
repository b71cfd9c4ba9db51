"""What holds for all tests."""

import fcntl
import os
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

# Some tests import numpy, whose linear algebra starts threads unless it is told not to, and a process with
# threads cannot be forked: all later tests of `verify` would take the long way round.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

ENGINE_LOCK = Path(tempfile.gettempdir()) / "docker-engine-of-tests.lock"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """One test at a time uses the Docker engine, in all sessions together: some look at all that is there."""
    if "engine" not in getattr(item, "fixturenames", ()):
        return (yield)
    with ENGINE_LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return (yield)
