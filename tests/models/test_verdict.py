"""Judgements add up to verdicts by one table."""

from itertools import permutations

import pytest

from cacheproof.models.verdict import Finding, Judgement, Verdict, merge_verdicts

FINDING = Finding("p", "stale-read", "k")


@pytest.mark.parametrize(
    ("judgement", "verdict"),
    [
        (Judgement((FINDING,), 1, "doubt"), Verdict.REFUTED),
        (Judgement(judged=3, unknown="doubt"), Verdict.UNKNOWN),
        (Judgement(judged=3), Verdict.UPHELD),
        (Judgement(), Verdict.NOT_EXERCISED),
    ],
)
def test_a_judgement_is_a_verdict(judgement: Judgement, verdict: Verdict) -> None:
    """Evidence outweighs doubt, doubt outweighs success, and nothing judged proves nothing."""
    assert judgement.verdict is verdict


def test_verdicts_merge_by_priority() -> None:
    """In any order and number: refuted, unknown, upheld, not exercised."""
    order = [Verdict.REFUTED, Verdict.UNKNOWN, Verdict.UPHELD, Verdict.NOT_EXERCISED]
    for first in range(4):
        for shuffled in permutations(order[first:]):
            assert merge_verdicts(shuffled) is order[first]
    assert merge_verdicts([]) is Verdict.NOT_EXERCISED
