"""A line of progress on a terminal, and nothing anywhere else."""

import io
import threading

import pytest

from cacheproof.harness.progress import ProgressLine


def test_a_terminal_shows_what_is_done_and_how_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line names the step and counts schedules; when it is over it is gone."""
    monkeypatch.setenv("TERM", "xterm")
    terminal = io.StringIO()
    with ProgressLine(terminal) as progress:
        progress("cache-aside, concurrent: 2 writers", 1234)
        assert "starting the servers" in terminal.getvalue() or "2 writers" in terminal.getvalue()
        assert threading.active_count() == 1  # threads and forks do not mix
    said = terminal.getvalue()
    assert "cache-aside, concurrent: 2 writers" in said and "1,234 schedules" in said
    assert said.rstrip().endswith("\x1b[2K")


def test_calls_in_quick_succession_are_not_all_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most ten times a second."""
    monkeypatch.setenv("TERM", "xterm")
    terminal = io.StringIO()
    with ProgressLine(terminal) as progress:
        progress("first", 1)
        progress("second", 2)
    assert "first" in terminal.getvalue() and "second" not in terminal.getvalue()


def test_without_a_terminal_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe or a log a moving line is noise."""
    with ProgressLine(None) as progress:
        progress("anything", 1)
    assert capsys.readouterr() == ("", "")
