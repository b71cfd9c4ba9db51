"""What `check` found in a recorded history: an answer for each question, with its evidence, as data.

A question is a property by name, or a model ("linearizable as cas-register").  A file that cannot be read has
no answers but a problem; one on which the checker itself failed says so and is no pass.
"""

from dataclasses import dataclass
from enum import StrEnum

from cacheproof.models.general import KeyResult
from cacheproof.models.verdict import Judgement, Verdict, merge_verdicts

__all__ = ["Answer", "Checked", "Problem", "Who"]


class Who(StrEnum):
    """Who must act on a problem: whoever gave the file and the options; or their machine, or we."""

    USER = "user"
    MACHINE = "machine"
    US = "us"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why there is no answer.  `line` and `column` count from 1; None where it is not a matter of a line."""

    what: str
    line: int | None = None
    column: int | None = None
    who: Who = Who.USER


@dataclass(frozen=True, slots=True)
class Answer:
    """What one question was answered with.

    `searches` is evidence of the general checker: for each key that it refuted how far its operations can be
    put in order, and which of them cannot follow.
    """

    question: str
    judgement: Judgement
    searches: tuple[KeyResult, ...] = ()


@dataclass(frozen=True, slots=True)
class Checked:
    """One file.  `format` is None where it was not recognised.

    `operations`, `keys` and `processes` are counted in the history.  `workers` are the processes that are
    background workers.  `left_out` says which questions were not asked, and how to ask them; None if nothing
    was left out.  `seconds` is what reading and checking took.
    """

    file: str
    format: str | None = None
    operations: int = 0
    keys: int = 0
    processes: int = 0
    workers: tuple[int, ...] = ()
    answers: tuple[Answer, ...] = ()
    left_out: str | None = None
    problem: Problem | None = None
    seconds: float = 0.0

    @property
    def verdict(self) -> Verdict | None:
        """All answers merged; None where there is a problem instead."""
        if self.problem is not None:
            return None
        return merge_verdicts(answer.judgement.verdict for answer in self.answers)
