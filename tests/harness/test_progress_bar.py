"""A bar over tasks on a terminal, and a line a task anywhere else."""

import io
import threading

import pytest

from cacheproof.harness.progress_bar import ProgressBar


def test_a_terminal_shows_how_much_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks done of all, and what is done now; when it is over it is gone."""
    monkeypatch.setenv("TERM", "xterm")
    terminal = io.StringIO()
    with ProgressBar(terminal, 40, moving=True) as bar:
        bar.tell("cache-aside, concurrent: 2 writers")
        bar.tell("too soon to be shown")
        bar.done("cache-aside: 25 upheld")
        assert threading.active_count() == 1  # threads and forks do not mix
    said = terminal.getvalue()
    assert "cache-aside, concurrent: 2 writers" in said and "too soon" not in said
    assert "1/40" in said and "25 upheld" in said
    assert said.rstrip().endswith("\x1b[2K")


def test_a_log_gets_a_line_for_each_task() -> None:
    """In a pipe or a log a moving bar is noise."""
    log = io.StringIO()
    with ProgressBar(log, 10, moving=False) as bar:
        bar.tell("something")
        bar.done("first")
        bar.done("second")
    assert log.getvalue() == "[ 1/10] first\n[ 2/10] second\n"
