"""What was found in a file adds up to one verdict, and a problem is no verdict."""

from cacheproof.models.checked import Answer, Checked, Problem, Who
from cacheproof.models.verdict import Finding, Judgement, Verdict

UPHELD = Answer("a", Judgement(judged=1))
IDLE = Answer("b", Judgement())
DOUBT = Answer("c", Judgement(judged=1, unknown="too hard"))
BROKEN = Answer("d", Judgement((Finding("d", "broken", None),), 1))


def test_answers_add_up() -> None:
    """By the table of verdicts: a refutation outweighs doubt, and doubt outweighs success."""
    assert Checked("f", answers=(UPHELD, IDLE)).verdict is Verdict.UPHELD
    assert Checked("f", answers=(UPHELD, DOUBT)).verdict is Verdict.UNKNOWN
    assert Checked("f", answers=(DOUBT, BROKEN, UPHELD)).verdict is Verdict.REFUTED
    assert Checked("f", answers=(IDLE,)).verdict is Verdict.NOT_EXERCISED
    assert Checked("f").verdict is Verdict.NOT_EXERCISED


def test_a_problem_is_no_verdict() -> None:
    """Whoever has to act on it; without a word it is whoever gave the file."""
    assert Checked("f", answers=(UPHELD,), problem=Problem("torn")).verdict is None
    assert Problem("torn").who is Who.USER
