"""Critical sections of a lock are disjoint, and its tokens grow."""

import random
from collections import Counter
from typing import Any

import pytest

from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.errors import UsageError
from cacheproof.models.event import Event, Exchanged, Faulted, Invoked, Returned
from cacheproof.models.history import History
from cacheproof.models.mutual_exclusion import MutualExclusion
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.verdict import Verdict

_RESULTS: dict[str, Value] = {"True": True, "False": False, "None": None, "1.5": 1.5, "''": ""}


def tell(script: str, key: str | None = "lock") -> History:
    """A history from lines: `A acquire`, `A ok 7`, `A crash`, `A DEL lock -> 1`, `expire lock`, `kill cache`."""
    events: list[Event] = []
    for line in filter(str.strip, script.splitlines()):
        words = line.split()
        stamp = (len(events), 0.0)
        process = ord(words[0][0]) - ord("A")
        if words[0] == "kill":
            events.append(Faulted(*stamp, "kill", server=ServerName.CACHE))
        elif words[0] in ("expire", "advance"):
            events.append(Faulted(*stamp, words[0], detail=words[1] if words[0] == "expire" else 5.0))
        elif words[1] in ("crash", "restart"):
            events.append(Faulted(*stamp, words[1], process))
        elif words[1] in ("ok", "fail", "info"):
            said = words[2] if words[2:] else "None"
            value = _RESULTS[said] if said in _RESULTS else int(said) if said.isdigit() else said
            events.append(Returned(*stamp, process, Outcome(words[1]), value))
        elif words[1].isupper():
            reply = {"1": 1, "0": 0}.get(words[-1], words[-1])
            request = tuple(words[1:-2])
            events.append(
                Exchanged(
                    *stamp, process, ServerName.CACHE, words[1], request, ("lock",), reply, Fate.DELIVERED
                )
            )
        else:
            events.append(Invoked(*stamp, process, words[1], words[2] if words[2:] else key, None))
    return History({}, tuple(events), 4)


def happenings(seed: int) -> str:
    """What three clients do with one lock, in at most 18 lines."""
    chance = random.Random(seed)
    at = dict.fromkeys("ABC", "")
    lines: list[str] = []
    for _ in range(chance.randint(4, 18)):
        who = chance.choice("ABC")
        if chance.random() < 0.04:
            lines.append(f"{who} {chance.choice(('crash', 'restart'))}")
            at[who] = ""
        elif at[who]:
            outcome = chance.choice(("ok", "ok", "ok", "ok", "fail", "info"))
            said = (
                chance.choice(("None", "True", "False", "2", "3", "4", "5"))
                if at[who] == "acquire"
                else "None"
            )
            lines.append(f"{who} {outcome} {said if outcome == 'ok' else ''}")
            at[who] = ""
        else:
            at[who] = chance.choice(("acquire", "acquire", "release", "read"))
            lines.append(f"{who} {at[who]}")
    return "\n".join(lines)


def acquisitions(history: History) -> list[Operation]:
    done = [op for op in history.operations if op.f == "acquire" and op.outcome is Outcome.OK]
    return [op for op in done if op.result is None or op.result not in (False, 0, "")]


def holds(history: History, process: int, instant: int) -> bool:
    """Whether a process certainly holds the lock just after an event: nothing ended its last acquisition."""
    mine = [op for op in acquisitions(history) if op.process == process and (op.returned or 0) <= instant]
    if not mine:
        return False
    for event in history.events[(mine[-1].returned or 0) + 1 : instant + 1]:
        if getattr(event, "process", None) == process:
            gone = isinstance(event, Faulted) or getattr(event, "outcome", None) is Outcome.INFO
            if gone or (isinstance(event, Invoked) and event.f == "release"):
                return False
    return True


def enters(history: History, acquire: Operation) -> bool:
    assert acquire.returned is not None
    return not holds(history, acquire.process, acquire.returned - 1)


def new_tenures(history: History) -> list[Operation]:
    """The acquisitions with a number by a process all of whose earlier ones had been released, one by one."""
    found = []
    for op in acquisitions(history):
        depth = 0
        for other in history.operations:
            if other.process == op.process and other.invoked < op.invoked and other.outcome is Outcome.OK:
                depth += other in acquisitions(history)
                depth = max(0, depth - (other.f == "release"))
        if depth == 0 and isinstance(op.result, int) and not isinstance(op.result, bool):
            found.append(op)
    return found


def test_it_agrees_with_looking_at_every_instant() -> None:
    """10,000 histories: two hold at the instant at which the second one entered; tokens are compared in pairs."""
    seen: Counter[str] = Counter()
    for seed in range(10_000):
        history = tell(happenings(seed))
        crowded = [
            op
            for op in acquisitions(history)
            if enters(history, op)
            and any(holds(history, other, op.returned or 0) for other in range(3) if other != op.process)
        ]
        tenures = new_tenures(history)
        late = [op for op in tenures if any(a.precedes(op) and a.result >= op.result for a in tenures)]  # type: ignore[operator]  # both are numbers
        judgement = MutualExclusion().check(history)
        by_kind: dict[str, list[int]] = {"two-holders": [], "fence-not-increasing": []}
        for finding in judgement.findings:
            assert finding.culprit is not None
            by_kind[finding.kind].append(finding.culprit.invoked)
        assert sorted(by_kind["two-holders"]) == sorted(op.invoked for op in crowded), seed
        assert sorted(by_kind["fence-not-increasing"]) == sorted(op.invoked for op in late), seed
        assert judgement.judged == len(acquisitions(history))
        seen.update(finding.kind for finding in judgement.findings)
        seen["upheld"] += judgement.verdict is Verdict.UPHELD
    assert min(seen["two-holders"], seen["fence-not-increasing"], seen["upheld"]) > 500


A_HOLDS = "A acquire\nA SET lock a NX -> OK\nA ok\n"
B_HOLDS = "B acquire\nB SET lock b NX -> OK\nB ok\n"
LOST = {
    "the lock ran out": ("advance 5\nexpire lock\n", 4),
    "the cache was killed": ("kill cache\n", 3),
    "somebody else deleted it": ("C DEL lock -> 1\n", 3),
    "nobody knows": ("C DEL lock -> 0\nC EVAL release lock -> 1\nA DEL lock -> 1\nexpire other\n", None),
}


@pytest.mark.parametrize("title", LOST)
def test_two_holders_are_found(title: str) -> None:
    """The later acquire, the earlier one with its release, and how the lock was lost."""
    between, at = LOST[title]
    history = tell(A_HOLDS + between + B_HOLDS + "A release\nA ok")
    (finding,) = MutualExclusion().check(history).findings
    earlier, later, release = history.operations
    assert (finding.property, finding.kind, finding.key) == ("mutual-exclusion", "two-holders", "lock")
    assert finding.culprit == later and finding.because == (earlier, release)
    assert finding.at == (() if at is None else (at,))


def test_the_evidence_fits_the_finding() -> None:
    """A section without an end, a third holder, a lock that was lost only later, a lock without a name."""
    (finding,) = MutualExclusion().check(tell(A_HOLDS + B_HOLDS + "expire lock")).findings
    assert len(finding.because) == 1 and finding.at == ()
    third = MutualExclusion().check(
        tell(A_HOLDS + B_HOLDS + "C acquire\nC ok\nD release\nB release\nB ok\nA release")
    )
    assert [[op.process for op in finding.because] for finding in third.findings] == [[0, 0], [1, 1]]
    again = A_HOLDS + "expire lock\n" + B_HOLDS + "B release\nB DEL lock -> 1\nB ok\n" + B_HOLDS
    assert [finding.at for finding in MutualExclusion().check(tell(again)).findings] == [(3,), (3,)]
    (finding,) = (
        MutualExclusion()
        .check(tell("A acquire\nA ok\nexpire lock\nkill cache\nB acquire\nB ok", key=None))
        .findings
    )
    assert finding.key is None and finding.at == (3,)


NEAR_MISSES = {
    "one after the other": A_HOLDS + "A release\nA DEL lock -> 1\nA ok\n" + B_HOLDS,
    "as soon as the release began": "B acquire\n" + A_HOLDS + "A release\nB ok\nA ok",
    "even if the release failed": A_HOLDS + "A release\nA info\n" + B_HOLDS,
    "not acquired": A_HOLDS + "B acquire\nB ok False\nC acquire\nC ok 0\nD acquire\nD ok ''",
    "failed to acquire": A_HOLDS + "B acquire\nB fail",
    "perhaps acquired": A_HOLDS + "B acquire\nB info",
    "the holder crashed": A_HOLDS + "A crash\n" + B_HOLDS,
    "the holder was restarted": A_HOLDS + "A restart\n" + B_HOLDS,
    "the holder may be dead": A_HOLDS + "A write\nA info\n" + B_HOLDS,
    "the same process again": A_HOLDS + A_HOLDS,
    "another lock": A_HOLDS + "B acquire other\nB ok",
}


@pytest.mark.parametrize("title", NEAR_MISSES)
def test_near_misses_are_not_flagged(title: str) -> None:
    """Not certainly at the same time, or not certainly held."""
    assert MutualExclusion().check(tell(NEAR_MISSES[title])).verdict is Verdict.UPHELD


def tokens(*said: str, fenced: bool | None = None) -> list[tuple[float | None, Any, Value]]:
    """(token, allowed, the earlier token) of each finding, where A and B take turns."""
    script = "".join(
        f"{who} acquire\n{who} ok {token}\n{who} release\n{who} ok\n"
        for who, token in zip("ABABAB", said, strict=False)
    )
    out = []
    for finding in MutualExclusion(fenced).check(tell(script)).findings:
        assert finding.kind == "fence-not-increasing" and finding.culprit and len(finding.because) == 1
        out.append((finding.found, finding.allowed, finding.because[0].result))
    return out


def test_tokens_have_to_increase() -> None:
    """Against the greatest of those that were returned before; a fraction's next is the next fraction."""
    assert tokens("3", "5", "4", "6") == [(4, (6, None), 5)]
    assert tokens("3", "3") == [(3, (4, None), 3)]
    ((found, (least, most), earlier),) = tokens("1.5", "1")
    assert (found, most, earlier) == (1, None, 1.5) and 1.5 < least < 1.500001
    assert tokens("3", "5", "6", "7") == []


def test_yes_and_no_are_no_tokens_unless_told() -> None:
    """Where only ones were returned they may mean yes; `fenced` settles it."""
    assert tokens("1", "1") == [] == tokens("True", "True")
    assert tokens("1", "1", fenced=True) == [(1, (2, None), 1)]
    assert tokens("5", "4", fenced=False) == []
    judgement = MutualExclusion(fenced=True).check(tell(A_HOLDS))
    assert judgement.verdict is Verdict.UNKNOWN and "None" in (judgement.unknown or "")
    assert MutualExclusion(fenced=True).check(tell("A acquire\nA ok 1")).verdict is Verdict.UPHELD


TOKENS_IN_ORDER = {
    "at the same time": "A acquire\nB acquire\nA ok 7\nA release\nA ok\nB ok 6",
    "the same lock once more": "A acquire\nA ok 7\nA acquire\nA ok 7",
    "not all of it was released": "A acquire\nA ok 7\nA acquire\nA ok 7\nA release\nA ok\nA acquire\nA ok 7",
    "the release failed": "A acquire\nA ok 7\nA release\nA fail\nA acquire\nA ok 7",
    "not acquired": "A acquire\nA ok 7\nA release\nA ok\nB acquire\nB ok 0",
}


@pytest.mark.parametrize("title", TOKENS_IN_ORDER)
def test_tokens_in_order_are_not_flagged(title: str) -> None:
    """Concurrent, or of somebody who may still have held the lock."""
    assert MutualExclusion().check(tell(TOKENS_IN_ORDER[title])).verdict is Verdict.UPHELD


def test_acquisitions_are_judged() -> None:
    """Without any it is not exercised, and it needs no final reads."""
    assert MutualExclusion().check(tell("A read\nA ok\nA release\nA ok")).verdict is Verdict.NOT_EXERCISED
    assert MutualExclusion().check(tell(A_HOLDS)).judged == 1
    assert (MutualExclusion().name, MutualExclusion().probes_s) == ("mutual-exclusion", ())
    with pytest.raises(UsageError, match="fenced is 3"):
        MutualExclusion(fenced=3)  # type: ignore[arg-type]  # that is the point
