"""What `check` says: the verdicts, the evidence in words and drawn, and the same as JSON."""

import json

import pytest

from cacheproof.models.checked import Answer, Checked, Problem, Who
from cacheproof.models.event import Committed
from cacheproof.models.general import KeyResult
from cacheproof.models.operation import Operation, Outcome
from cacheproof.models.verdict import Finding, Judgement, Verdict
from cacheproof.reports.check_report import check_to_dict, render_check, render_summary
from cacheproof.reports.findings import finding_words
from cacheproof.reports.terminal import to_text
from cacheproof.reports.words import Names

WRITE = Operation(1, "write", "k", "v2", 0, 2, Outcome.OK)
READ = Operation(0, "read", "k", "v1", 3, 4, Outcome.OK)
LOST = Operation(0, "write", "k", "v3", 5, None, Outcome.INFO)
FAILED = Operation(2, "write", "k", "v4", 6, 7, Outcome.FAIL)
STALE = Finding("linearizable", "stale-read", "k", READ, (WRITE,), (Committed(1, 0.0, "k", "v2", 1),), 7.5)


def checked(*answers: Answer, left_out: str | None = None) -> Checked:
    return Checked("h.jsonl", "json-lines", 3, 1, 2, (2,), answers, left_out, seconds=0.123)


def broken(*findings: Finding) -> Checked:
    return checked(Answer("p", Judgement(findings, 1)))


def text(item: Checked, width: int = 100) -> str:
    return to_text(render_check(item, width=width))


def test_every_verdict_has_its_mark() -> None:
    """With what was judged, or the reason, or neither."""
    item = checked(
        Answer("a", Judgement(judged=1)),
        Answer("b", Judgement(judged=2000)),
        Answer("c", Judgement(unknown="too\nhard")),
        Answer("d", Judgement()),
    )
    assert text(item).splitlines() == [
        "UNKNOWN  h.jsonl",
        "    json-lines · 3 operations · 1 key · 2 processes · 0.12 s",
        "✓ a 1 operation judged",
        "✓ b 2,000 operations judged",
        "? c too\\nhard",
        "– d not exercised",
    ]


def test_a_finding_in_words_and_drawn() -> None:
    """Who did what when, because of whom, what the database committed, and for how long it was stale."""
    assert text(broken(STALE)).splitlines()[2:] == [
        "✗ p",
        "    A's read of k returned v1, although B's write of v2 had returned before that read began.",
        "    B's write v2 (events 0 to 2) and A's read v1 (events 3 to 4); the database committed v2 (version",
        "    1, event 1); stale for 7.5 s",
        "",
        "    A                 |--read v1--|",
        "    B  |--write v2--|",
    ]


@pytest.mark.parametrize(
    ("finding", "words"),
    [
        (Finding("p", "lost-write", "k", LOST), ["A's write v3 (event 5, outcome unknown)"]),
        (Finding("p", "odd", None, FAILED), ["worker 1's write v4 (events 6 to 7, failed)"]),
        (
            Finding("p", "odd", None, WRITE, (READ,)),
            ["B's write v2 (events 0 to 2) and A's read v1 (events 3 to 4)"],
        ),
        (Finding("p", "late", "k", found=3.25), ["found 3.25"]),
        (Finding("p", "late", "k", found=12345, allowed=(1, None)), ["found 12,345, allowed at least 1"]),
        (Finding("p", "late", "k", found=3, allowed=(None, 2.5)), ["found 3, allowed at most 2.5"]),
        (Finding("p", "n", "k", found=3, allowed=(1, 2)), ["found 3, allowed at least 1 and at most 2"]),
        (Finding("p", "n", "k", found=3, allowed=(None, None)), ["found 3"]),
        (Finding("p", "n", None, at=(4,)), ["see event 4"]),
        (Finding("p", "n", None, at=tuple(range(20))), ["see events 0, 1, 2, 3, 4, 5, 6 and 7"]),
        (Finding("p", "n", None, READ, stale_s=0.0), ["A's read v1 (events 3 to 4)"]),
        (Finding("p", "n", None), []),
    ],
)
def test_the_evidence_of_findings(finding: Finding, words: list[str]) -> None:
    """Whatever the finding holds, and nothing else, below the sentence; one operation alone is not drawn."""
    sentence, *evidence = text(broken(finding), 200).splitlines()[3:]
    assert sentence == f"    {finding_words(finding, Names((2,)))}"
    assert evidence[: 1 if finding.because else None] == [f"    {line}" for line in words]


def test_much_evidence_is_counted() -> None:
    """Eight operations are named."""
    many = tuple(Operation(0, "write", "k", n, 2 * n, 2 * n + 1, Outcome.OK) for n in range(10))
    assert "(events 14 to 15) and 2 operations more" in text(broken(Finding("p", "n", "k", None, many)), 500)


def test_many_findings_are_counted() -> None:
    """Three are shown, so that a long list does not hide the next answer."""
    lines = text(broken(*[Finding("p", f"kind-{number}", None) for number in range(5)])).splitlines()
    told = [f"    The property p is broken (kind {number})." for number in range(3)]
    assert lines[3:] == [*told, "    and 2 findings more, with --json"]


def search(order: tuple[Operation, ...], stuck: tuple[Operation, ...], key: str | None = "k") -> Checked:
    found = KeyResult(key, Verdict.REFUTED, order, stuck, 3, None, 10, 5)
    finding = Finding("linearizable-as", "non-linearizable", key, stuck[0], (*order, *stuck[1:]))
    return checked(Answer("linearizable as register", Judgement((finding,), 3), (found,)))


def test_a_search_says_how_far_it_got() -> None:
    """How many operations fit one order, up to which, what cannot follow, and both drawn."""
    assert text(search((WRITE,), (READ,))).splitlines()[2:] == [
        "✗ linearizable as register",
        "    1 operation on k fits one order, up to B's write v2; this cannot follow:",
        "    A's read v1 (events 3 to 4)",
        "",
        "    A                 |--read v1--|",
        "    B  |--write v2--|",
    ]
    assert "    0 operations fit one order; none of these can follow:" in text(
        search((), (READ, WRITE), None)
    )


def test_a_search_shows_the_last_of_what_fits() -> None:
    """Three operations of the order, and eight of those that cannot follow."""
    order = tuple(Operation(0, "write", "k", n, 2 * n, 2 * n + 1, Outcome.OK) for n in range(9))
    stuck = tuple(Operation(n + 1, "read", "k", n, 18 + n, 50 + n, Outcome.OK) for n in range(10))
    told = text(search(order, stuck[:8]), 120)
    assert "write 5--" not in told and "write 6--" in told and "read 7--" in told
    told = text(search(order, stuck), 120)
    assert "    and 2 operations more" in told.splitlines() and "--|" not in told


def test_a_narrow_terminal_gets_no_drawing() -> None:
    """Words wrap; what would not fit is left out."""
    lines = text(broken(STALE), 26).splitlines()
    assert max(map(len, lines)) <= 26 and not any("|--" in line for line in lines)


def test_a_long_question_wraps() -> None:
    """Below itself, behind the mark."""
    item = checked(Answer("a", Judgement(unknown=" ".join(["word"] * 12))))
    assert text(item, 40).splitlines()[3:] == [
        "? a word word word word word word word",
        "  word word word word word",
    ]


def test_what_was_not_asked_is_said() -> None:
    """At the end."""
    assert text(checked(left_out="ask for more")).splitlines()[-1] == "    ask for more"


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (Problem("it is torn", 3, 14), "    line 3, column 14: it is torn"),
        (Problem("it is\x1b empty"), "    it is\\x1b empty"),
    ],
)
def test_a_problem_is_no_verdict(problem: Problem, words: str) -> None:
    """With its place, if it has one."""
    assert text(Checked("a.log", problem=problem)).splitlines() == ["CANNOT BE CHECKED  a.log", words]


def test_the_summary_counts_files() -> None:
    """By verdict, those that cannot be checked by themselves."""
    files = [broken(STALE), checked(Answer("a", Judgement(judged=1))), Checked("x", problem=Problem("no"))]
    assert render_summary(files) == "3 files: 1 upheld, 1 refuted, 1 cannot be checked"
    assert render_summary(files[:1]) == "1 file: 1 refuted"


def test_json() -> None:
    """Every key is there, in its order, whatever was found."""
    told = check_to_dict(search((WRITE,), (READ,)))
    assert list(told) == [
        "file",
        "format",
        "verdict",
        "operations",
        "keys",
        "processes",
        "seconds",
        "answers",
        "left_out",
        "problem",
    ]
    assert list(told["answers"][0]) == ["question", "verdict", "judged", "unknown", "findings", "searches"]
    assert (told["verdict"], told["seconds"], told["problem"]) == ("refuted", 0.123, None)
    (found,) = told["answers"][0]["searches"]
    assert (found["key"], found["ordered"], found["steps"], found["configurations"]) == ("k", 1, 10, 5)
    assert [item["value"] for item in (*found["last"], *found["stuck"])] == ["v2", "v1"]
    assert told["answers"][0]["findings"][0]["kind"] == "non-linearizable"
    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_json_of_a_problem() -> None:
    """No verdict, and who must act."""
    told = check_to_dict(Checked("x", problem=Problem("torn", 3, 14, Who.US)))
    assert (told["verdict"], told["format"], told["answers"]) == (None, None, [])
    assert told["problem"] == {"what": "torn", "line": 3, "column": 14, "who": "us"}


def test_every_key_is_documented() -> None:
    """The docstring is the documentation of the format."""
    told = check_to_dict(search((WRITE,), (READ,))) | check_to_dict(Checked("x", problem=Problem("torn")))
    names = {*told, *told["problem"], "question", "verdict", "judged", "unknown", "findings"}
    names |= {"searches", "key", "ordered", "last", "stuck", "steps", "configurations"}
    assert [name for name in names if f"`{name}`" not in str(check_to_dict.__doc__)] == []
