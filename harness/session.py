"""What one pytest session knows: its options, its reports, and when a test has failed."""

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

__all__ = ["ChaosSession", "Expect", "read_seed", "wrong_cells"]


class Expect(Enum):
    """What a test asks of a report.

    CLAIMS  every promise of the contract that was judged holds: what users want
    TRUTH   every promise holds exactly where the contract says that it is kept: for reference patterns.  Nothing
            is asked of a condition that the servers do not let be made, such as a crash of servers of a user's
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
        self.handed: list[str] = []
        """What parallel workers have to say at the end."""
        self._store = FailureStore(folder)
        self._terminal = terminal

    def verify(self, cache: Any, contract: Any, **options: Any) -> Report:
        """Verify with the session's options unless told otherwise; keeps the report."""
        given: dict[str, Any] = {"profile": self.profile, "seed": self.seed, "store": self._store} | options
        with ProgressLine(self._terminal) as progress:
            report = verify(cache, contract, progress=progress, **given)
        self.reports.append(report)
        return report

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


def wrong_cells(report: Report, expect: Expect) -> list[Cell]:
    """The cells that make a test fail: what is unknown, and what is not as the test expects."""
    return [cell for cell in report.cells if _is_wrong(cell, expect)]


def _is_wrong(cell: Cell, expect: Expect) -> bool:
    if cell.verdict is Verdict.UNKNOWN:
        return True
    if cell.verdict is Verdict.NOT_EXERCISED and not cell.possible:
        return False
    if expect is Expect.CLAIMS:
        return cell.verdict is Verdict.REFUTED
    return cell.verdict is not (Verdict.UPHELD if cell.kept else Verdict.REFUTED)
