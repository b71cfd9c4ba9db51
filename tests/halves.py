"""Every test, in two sessions of pytest side by side, on a core each; options are passed on to both.

One session would take a quarter of an hour.  Workers of pytest-xdist would not do: they run threads, and a process
with threads cannot be forked, as `verify` does.  What the second session says is shown when the first one is done.
Ctrl-C ends both.  The exit code is that of the first session that failed; one to which the options leave no test
(5) is no failure, if the other one had some.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

HALF = ("tests/harness",)
"""Takes about as long as everything else."""


def ignoring(paths: list[str]) -> list[str]:
    return [word for path in paths for word in ("--ignore", path)]


def exit_code(first: int, second: int) -> int:
    """That of both sessions together."""
    codes = {first, second}
    return next((code for code in (first, second) if code not in (0, 5)), 0 if 0 in codes else 5)


def main(options: list[str]) -> int:
    others = sorted(
        f"tests/{path.name}" for path in Path("tests").iterdir() if f"tests/{path.name}" not in HALF
    )
    pytest = [sys.executable, "-m", "pytest"]
    one = [*pytest, *ignoring(list(HALF)), *options]
    other = [*pytest, "-o", "cache_dir=.pytest_cache/other", *ignoring(others), *options]
    with tempfile.TemporaryFile() as said:
        second = subprocess.Popen(other, stdout=said, stderr=subprocess.STDOUT)
        first = subprocess.Popen(one)
        try:
            codes = first.wait(), second.wait()
        except KeyboardInterrupt:  # they have heard it as well, and clean up
            first.wait()
            second.wait()
            raise
        finally:
            said.seek(0)
            sys.stdout.buffer.write(said.read())
            sys.stdout.flush()
    return exit_code(*codes)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
