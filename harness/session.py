"""What one pytest session knows: its options, its reports, where they go, and when a test has failed."""

import secrets
from enum import Enum
from pathlib import Path
from typing import IO, Any

from cacheproof.harness.profiles import Profile, profile_named
from cacheproof.harness.progress import ProgressLine
from cacheproof.harness.store import FailureStore
from cacheproof.harness.verify import verify
from cacheproof.models.errors import UsageError
from cacheproof.models.report import Cell, Report
from cacheproof.models.verdict import Verdict

__all__ = ["ChaosSession", "Expect", "read_seed"]


class Expect(Enum):
    """What a test asks of a report.

    CLAIMS  every promise of the contract that was judged holds: what users want
    TRUTH   every promise holds exactly where the contract says that it is kept: for reference patterns
    """

    CLAIMS = "claims"
    TRUTH = "truth"


class ChaosSession:
    """Options and reports of one session; `terminal` is written progress to, None for none."""

    def __init__(self, *, profile: str, seed: str, folder: Path, terminal: IO[str] | None) -> None:
        self.profile: Profile = profile_named(profile)
        self.seed = read_seed(seed)
        self.folder = folder
        self.reports: list[Report] = []
        self.problems: list[str] = []
        self._store = FailureStore(folder)
        self._terminal = terminal

    def verify(self, cache: Any, contract: Any, **options: Any) -> Report:
        """Verify with the session's options unless told otherwise; keeps the report and writes it down."""
        given: dict[str, Any] = {"profile": self.profile, "seed": self.seed, "store": self._store} | options
        with ProgressLine(self._terminal) as progress:
            report = verify(cache, contract, progress=progress, **given)
        self.reports.append(report)
        self._write(report)
        return report

    def _write(self, report: Report) -> None:
        from cacheproof.reports.json_report import write_report

        try:
            write_report(report, self.folder / "report")
        except OSError as error:
            self.problems.append(f"the report of {report.cache} could not be written: {error}; free the disk")

    def complaint(self, report: Report, expect: Expect, *, color: bool) -> str | None:
        """Why the test fails, in words and pictures; None if it does not."""
        from cacheproof.reports.terminal import render_report, to_text

        wrong = [cell for cell in report.cells if _is_wrong(cell, expect)]
        if not wrong:
            return None
        drawn = to_text(render_report(report, cells=wrong), width=110, color=color)
        return "\n".join([drawn, "", *(_told(cell, expect) for cell in wrong if cell.counterexample is None)])

    def close(self) -> None:
        """Nothing to do yet but to forget."""
        self.reports.clear()


def read_seed(text: str) -> int:
    """The seed that an option names: a whole number, or "random" for one that is drawn."""
    if text == "random":
        return secrets.randbelow(2**31)
    if not text.isdigit():
        raise UsageError(f"the seed is {text!r}; expected a whole number, 0 or more, or 'random'")
    return int(text)


def _is_wrong(cell: Cell, expect: Expect) -> bool:
    if cell.verdict is Verdict.UNKNOWN:
        return True
    if expect is Expect.CLAIMS:
        return cell.verdict is Verdict.REFUTED
    return cell.verdict is not (Verdict.UPHELD if cell.kept else Verdict.REFUTED)


def _told(cell: Cell, expect: Expect) -> str:
    where = f"{cell.guarantee} ({cell.condition.value})"
    if cell.verdict is Verdict.UNKNOWN:
        return f"{where} is unknown: {cell.reason}"
    expected = "upheld" if cell.kept else "refuted"
    reason = f": {cell.reason}" if cell.reason else f" in {cell.exercised} schedules that exercised it"
    return f"{where} was expected to be {expected}, and is {cell.verdict.value}{reason}"
