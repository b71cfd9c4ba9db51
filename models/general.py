"""Linearizability of whatever has a sequential specification, judged key by key within a budget.

    Wing and Gong, Testing and Verifying Concurrent Objects, JPDC 1993: try every order that respects real
        time, and go back where the specification rejects a call.
    Lowe, Testing for Linearizability, Concurrency and Computation 2017: never go on from a configuration
        (which calls are in the order, and the state) that was seen before.
    Horn and Kroening, Faster Linearizability Checking via P-Compositionality, FORTE 2015: take keys by
        themselves.

        A: |--write 1--|       |--cas (1, 2) → True--|
        B:     |--read → 1--|            |--read → 1--|      linearizable: this read came before the cas
        C:                                                 |--read → 1--|      and this one cannot be placed

The verdict is exact, in both directions, with ambiguous operations as well: they may take effect at any time
after they began, or never.  But the question is NP-complete (Gibbons and Korach, Testing Shared Memories, SIAM
J. Comput. 1997), so there is a budget, in steps and in configurations kept, never in seconds: the same history
always has the same result.  Where the budget ends the result is unknown.

Of a history that is not linearizable the evidence is its longest linearizable prefix, in an order, and the call
whose return makes the prefix too long.  This does not depend on the way that the search takes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cacheproof.models.errors import UsageError
from cacheproof.models.fronts import Machine, Timeline
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.order_search import Search
from cacheproof.models.specifications import SPECIFICATIONS, Specification, specification_named
from cacheproof.models.verdict import Finding, Judgement, Verdict, merge_verdicts

__all__ = [
    "BUDGET_CONFIGURATIONS",
    "BUDGET_STEPS",
    "GeneralResult",
    "KeyResult",
    "LinearizableAs",
    "check_linearizable",
]

BUDGET_STEPS = 2_000_000
"""A few seconds."""

BUDGET_CONFIGURATIONS = 500_000
"""A few hundred megabytes."""

_FIRST_SHARE = 1_000
_GROWTH = 4
_TELLING = 3
_HARMLESS = ("read", "warm", "work")


@dataclass(frozen=True, slots=True)
class KeyResult:
    """What is known of one key (None: of the calls without a key, or of all keys together).

    `order`, where upheld, is an order of all ok operations, with the ambiguous ones that it needs.  Otherwise
    it is one of the longest prefix of the history that was found to have one: all ok operations that returned
    before some moment, with those of the others that they need.  `stuck`, where refuted, are operations that
    could not follow.  Up to the return of the first of them the history has no order (there, operations that
    are still open may come, as they will end, or not); the others had been invoked as well, and are rejected
    behind `order` too.  `judged` counts the ok operations that could have been rejected at all, `steps` and
    `configurations` (kept at once) are what the search took.  `unknown` says why there is no verdict.
    """

    key: str | None
    verdict: Verdict
    order: tuple[Operation, ...] = ()
    stuck: tuple[Operation, ...] = ()
    judged: int = 0
    unknown: str | None = None
    steps: int = 0
    configurations: int = 0


@dataclass(frozen=True, slots=True)
class GeneralResult:
    """What is known of each key, in the order in which the keys first appear."""

    keys: tuple[KeyResult, ...] = ()

    @property
    def verdict(self) -> Verdict:
        return merge_verdicts(item.verdict for item in self.keys)

    @property
    def refuted(self) -> tuple[KeyResult, ...]:
        return tuple(item for item in self.keys if item.verdict is Verdict.REFUTED)

    @property
    def unknown(self) -> str | None:
        """Why there is no verdict for some key, the first of these reasons."""
        return next((item.unknown for item in self.keys if item.unknown is not None), None)

    @property
    def steps(self) -> int:
        return sum(item.steps for item in self.keys)


def check_linearizable(
    operations: Iterable[Operation],
    specification: Specification,
    *,
    initial: Mapping[str, Value] | None = None,
    budget_steps: int = BUDGET_STEPS,
    budget_configurations: int = BUDGET_CONFIGURATIONS,
    stop_early: bool = True,
) -> GeneralResult:
    """Whether the operations fit one order that respects real time and the specification.

    Exact within the budget, which all keys share; they are searched in turn, with shares that grow, so that a
    hard key does not hide an easy violation.  `initial` gives the value of a key before the history, where it
    is not that of the specification.  `stop_early` ends the search at the first key that is refuted; other
    keys that are not decided by then are unknown.  A key on which something was called that the specification
    does not know, or with an argument that it cannot take, is unknown.
    """
    tasks = [
        _task(key, calls, specification, initial or {}) for key, calls in _split(operations, specification)
    ]
    cases = [item for item in tasks if isinstance(item, _Case)]
    why = _in_turn(cases, budget_steps, budget_configurations, stop_early)
    return GeneralResult(tuple(item.result(why) if isinstance(item, _Case) else item for item in tasks))


@dataclass(frozen=True, slots=True)
class LinearizableAs:
    """Each key behaves as the model of that name (see specifications.py), one operation at a time.

    Composes by key (Herlihy and Wing, Linearizability, TOPLAS 1990, theorem 1).
    """

    model: str
    budget_steps: int = BUDGET_STEPS

    def __post_init__(self) -> None:
        specification_named(self.model)
        if self.budget_steps < 1:
            raise UsageError(f"budget_steps is {self.budget_steps!r}; give at least 1")

    @property
    def name(self) -> str:
        return "linearizable-as"

    @property
    def probes_s(self) -> tuple[float, ...]:
        return (0.0,)

    def check(self, history: History) -> Judgement:
        """At most one finding "non-linearizable" a key.  Judges the ok operations that could be rejected.

        The culprit is the first operation whose return no order explains; `because` are the last operations
        of the longest prefix that has an order, in that order, and the others that could not follow.
        """
        return self.judgement(self.search(history))

    def search(self, history: History) -> GeneralResult:
        """What is known of every key: the evidence behind a judgement, in full."""
        return check_linearizable(
            history.operations,
            SPECIFICATIONS[self.model],
            initial=history.initial,
            budget_steps=self.budget_steps,
            stop_early=False,
        )

    def judgement(self, result: GeneralResult) -> Judgement:
        """The judgement that a search comes to."""
        findings = tuple(self._finding(item) for item in result.refuted)
        return Judgement(findings, sum(item.judged for item in result.keys), result.unknown)

    def _finding(self, found: KeyResult) -> Finding:
        culprit, *others = found.stuck
        because = (*found.order[-_TELLING:], *others)
        return Finding(self.name, "non-linearizable", found.key, culprit=culprit, because=because)


def _split(
    operations: Iterable[Operation], specification: Specification
) -> Iterator[tuple[str | None, list[Operation]]]:
    """The operations of each key.  Those that did not happen say nothing, nor does what only fills a cache.

    What has no key, and is not known either, may have touched any key.
    """
    groups: dict[str | None, list[Operation]] = {}
    anywhere: list[Operation] = []
    for operation in operations:
        if operation.outcome is Outcome.FAIL:
            continue
        if operation.key is None and operation.f not in specification.functions:
            if not operation.f.startswith(_HARMLESS):
                anywhere.append(operation)
            continue
        groups.setdefault(operation.key if specification.by_key else None, []).append(operation)
    for key, calls in groups.items():
        yield key, calls + anywhere


def _task(
    key: str | None, calls: Sequence[Operation], specification: Specification, initial: Mapping[str, Value]
) -> "_Case | KeyResult":
    """The case to be judged, or what there is to say without one."""
    for call in calls:
        if call.f not in specification.functions:
            return KeyResult(key, Verdict.UNKNOWN, unknown=f"{call.f!r} is no call of a {specification.name}")
        if not specification.fits(call.f, call.value):
            what = f"{call.f!r} of a {specification.name} does not take {call.value!r}"
            return KeyResult(key, Verdict.UNKNOWN, unknown=what)
    value = specification.initial if key is None else initial.get(key, specification.initial)
    try:
        return _Case(key, Timeline(Machine(specification, value), calls))
    except UsageError as error:
        return KeyResult(key, Verdict.UNKNOWN, unknown=str(error))


def _in_turn(cases: Sequence["_Case"], steps: int, configurations: int, stop_early: bool) -> str:
    """Judge the cases, each with a share that grows from turn to turn.  Says why some are not decided."""
    share, waiting = _FIRST_SHARE, list(cases)
    while waiting:
        for case in waiting:
            left = steps - sum(item.steps for item in cases)
            room = configurations - sum(item.kept for item in cases)
            if left <= 0:
                return f"no verdict within {steps} steps"
            if room <= 0:
                return f"no verdict within {configurations} configurations"
            case.run(min(share, left), room)
            if stop_early and case.verdict is Verdict.REFUTED:
                case.run(left - min(share, left), room)
                return "not decided: the search ended at the first key that is not linearizable"
        waiting = [item for item in waiting if not item.settled]
        share *= _GROWTH
    return ""


class _Case:
    """One key: a search for an order of all its calls, and, where there is none, for how far one can get.

    A search may see that there is no order long before it gets to the call that no order can place.  So the
    history is cut at a return and searched again, and the cut is moved as in a bisection, until the history
    up to one return has an order and up to the next has none.
    """

    def __init__(self, key: str | None, timeline: Timeline) -> None:
        self.key = key
        self.verdict = Verdict.UNKNOWN
        self.settled = False
        self._timeline = timeline
        self._search = self._best = Search(timeline, len(timeline.calls))
        self._past_steps = 0
        self._most_kept = 0
        self._stuck_at = len(timeline.calls)

    @property
    def steps(self) -> int:
        return self._past_steps + self._search.steps

    @property
    def kept(self) -> int:
        """The configurations in memory."""
        return 0 if self.settled else self._search.configurations

    def run(self, steps: int, configurations: int) -> None:
        """Go on until all is known, or until about that many more steps or configurations are spent."""
        last_step, full = self.steps + steps, self.kept + configurations
        while not self.settled and self.steps < last_step and self.kept < full:
            self._search.run(last_step - self.steps, full - self.kept)
            if self._search.found is not None:
                self._conclude(self._search)

    def result(self, why: str) -> KeyResult:
        """What is known so far; `why` there is no verdict, where there is none."""
        traits, kinds = self._timeline.machine.traits, self._timeline.kinds
        decided = self.verdict is not Verdict.UNKNOWN
        best = max(self._best, self._search, key=lambda search: search.furthest)
        return KeyResult(
            key=self.key,
            verdict=self.verdict,
            order=best.order(),
            stuck=tuple(self._stuck(best)) if self.verdict is Verdict.REFUTED else (),
            judged=sum(not traits[kind].total for kind in kinds) if decided else 0,
            unknown=None if decided else why,
            steps=self.steps,
            configurations=max(self._most_kept, self._search.configurations),
        )

    def _conclude(self, search: Search) -> None:
        if search.furthest > self._best.furthest:
            self._best = search
        if not search.found:
            self.verdict = Verdict.REFUTED
            self._stuck_at = max(search.furthest, search.hopeless)
        elif self.verdict is Verdict.UNKNOWN:
            self.verdict = Verdict.UPHELD
        reached = self._best.furthest
        self.settled = reached == self._stuck_at or self.verdict is Verdict.UPHELD
        if not self.settled:
            self._past_steps += search.steps
            self._most_kept = max(self._most_kept, search.configurations)
            self._search = Search(self._timeline, (reached + self._stuck_at) // 2 + 1)

    def _stuck(self, best: Search) -> Iterator[Operation]:
        calls = self._timeline.calls
        yield calls[self._stuck_at]
        yield from (calls[place] for place in best.rejected() if place != self._stuck_at)
