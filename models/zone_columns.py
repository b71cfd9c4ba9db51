"""The zones of zones.py on columns: millions of operations and many keys at once, in O(n log n).

The rules and verdicts are those of zones.py, and so are the words of the evidence: the operations of the two
clusters that clash are taken out of the columns and explained by the same function.  Here is only the search.

    a *group* is a key and a value: its reads, its possible writes (its sources), and the initial value
    a *zone* is a cluster: a group with reads and one source, or an acknowledged write that nobody read

             key 0              key 1                   A zone is placed on one line for all keys: key n begins
    |------------------|------------------|             at n times the span of the clock, so zones of two keys
      [zone]   [zone]     [  zone  ]                    never meet, and one sort finds the clashes of all keys

Where zones.py compares a zone with its neighbours, numpy compares all zones with their neighbours; nothing is
approximated.  Keys on which something else than reads and writes of scalars was called are left without a
verdict (rule 1 of register.py).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cacheproof.models.columns import DELETE, FAIL, NO_KEY, NO_VALUE, OK, PENDING, READ, WRITE, Columns
from cacheproof.models.operation import Operation
from cacheproof.models.register import obstacle
from cacheproof.models.verdict import Finding, Judgement
from cacheproof.models.zones import REPEATED, Clash, Cluster, Linearizable, ZoneResult, explain_clash

__all__ = ["ColumnsResult", "check_columns", "judge_columns"]

_Whole = npt.NDArray[np.int64]
_Flag = npt.NDArray[np.bool_]

_NEVER = -PENDING  # before everything: the initial value is written then
_NOWHEN = PENDING + 1  # after everything, what never returns included: the write of a value without sources
_FURTHEST = 2**62  # the longest line on which zones are placed
_DENSE = 4  # keys times values may be so many times the operations for groups to be numbered without sorting


@dataclass(frozen=True, slots=True)
class ColumnsResult:
    """What there is to say of many registers at once.

    `results` holds the keys that are refuted or in doubt, in the order of `Columns.keys`; all others are
    linearizable.  `judged` counts the ok reads of the keys that are registers.
    """

    results: Mapping[str, ZoneResult]
    judged: int


def judge_columns(columns: Columns) -> Judgement:
    """The judgement of `Linearizable` on columns: at most one finding a key, and the first doubt.

    As columns know nothing of commits, findings come without versions and staleness.  Where a value that was
    read has several possible writes, a doubt is left: no search is made for an order of so many operations.
    """
    checked = check_columns(columns)
    return Judgement(
        findings=tuple(
            Finding(Linearizable().name, item.clash.kind, key, item.clash.culprit, item.clash.because)
            for key, item in checked.results.items()
            if item.clash
        ),
        judged=checked.judged,
        unknown=next((item.unknown for item in checked.results.values() if item.unknown), None),
    )


def check_columns(columns: Columns) -> ColumnsResult:
    """For each key, whether its operations are those of an atomic register, as `zones.check_register` does.

    O(n log n) in the number of operations, whatever the number of keys.
    """
    if not columns.keys:
        return ColumnsResult({}, 0)
    doubts = _obstacles(columns)
    groups = _Groups.of(columns, doubts)
    clashes = _zone_clashes(groups) | _unwritten(groups)
    found = {key: ZoneResult(unknown=doubt) for key, doubt in (_repeated(groups) | doubts).items()}
    found |= {key: ZoneResult(clash) for key, clash in clashes.items()}
    results = {columns.keys[key]: found[key] for key in sorted(found)}
    return ColumnsResult(results, int(np.count_nonzero(groups.is_read)))


def _obstacles(columns: Columns) -> dict[int, str]:
    """The keys that cannot be read as registers, and why: the first operation that is in the way."""
    is_array = np.fromiter((isinstance(value, tuple) for value in columns.values), np.bool_)
    known = np.isin(columns.f, (READ, WRITE, DELETE))
    odd = ~known | (is_array[columns.value] & (columns.f != DELETE))
    rows = np.flatnonzero(odd & (columns.outcome != FAIL) & (columns.key >= 0))
    found: dict[int, str] = {}
    for row in _first_of_each(columns.key[rows], rows):
        operation = columns.operation(row)
        array = f"{operation.value!r} on {operation.key!r} is an array, and a register holds one scalar"
        found[int(columns.key[row])] = obstacle((operation,)) or array
    return found


def _first_of_each(keys: npt.NDArray[Any], rows: _Whole) -> list[int]:
    """Of rows in order, the first of each key."""
    _, first = np.unique(keys, return_index=True)
    return [int(row) for row in rows[first]]


@dataclass(frozen=True, slots=True, eq=False)
class _Groups:
    """The groups of a history.  `of_row` leads from operations to groups; `key` and what follows it, down to
    `maxs`, has one entry a group.

    `reads` counts the ok reads, `sources` the possible writes and the initial value; `first_read` is a row;
    `began` is when the first source began; `minf` and `maxs` are the limits of reads and sources together.
    """

    columns: Columns
    of_row: _Whole
    is_read: _Flag
    is_write: _Flag
    is_source: _Flag
    key: _Whole
    reads: _Whole
    sources: _Whole
    first_read: _Whole
    began: _Whole
    minf: _Whole
    maxs: _Whole

    @classmethod
    def of(cls, columns: Columns, left_out: Mapping[int, str]) -> "_Groups":
        """The groups of all keys but those that are left out."""
        judged = np.ones(len(columns.keys) + 1, np.bool_)
        judged[[NO_KEY, *left_out]] = False  # NO_KEY is the last entry
        mine = judged[columns.key]
        is_read = mine & (columns.f == READ) & (columns.outcome == OK)
        is_write = mine & ((columns.f == WRITE) | (columns.f == DELETE))
        is_source = is_write & (columns.outcome != FAIL)
        of_row, of_initial, key = _number_groups(columns)
        count = len(key)
        first_read, began, minf = np.full((3, count), _NOWHEN)
        maxs = np.full(count, _NEVER)
        np.minimum.at(first_read, of_row[is_read], np.flatnonzero(is_read))
        np.minimum.at(began, of_row[is_source], columns.invoked[is_source])
        for rows in (is_read, is_source):
            np.minimum.at(minf, of_row[rows], columns.returned[rows])
            np.maximum.at(maxs, of_row[rows], columns.invoked[rows])
        began[of_initial] = minf[of_initial] = _NEVER
        reads = np.bincount(of_row[is_read], minlength=count)
        sources = np.bincount(np.concatenate((of_row[is_source], of_initial)), minlength=count)
        return cls(
            columns, of_row, is_read, is_write, is_source, key, reads, sources, first_read, began, minf, maxs
        )

    def members(self, wanted: Iterable[int], rows: _Flag) -> Mapping[int, tuple[Operation, ...]]:
        """Those of the operations in `rows` that belong to each of the wanted groups, in order."""
        lists: dict[int, list[Operation]] = {int(group): [] for group in wanted}
        chosen = np.zeros(len(self.key), np.bool_)
        chosen[list(lists)] = True
        for row in np.flatnonzero(rows & chosen[self.of_row]):
            lists[int(self.of_row[row])].append(self.columns.operation(int(row)))
        return {group: tuple(operations) for group, operations in lists.items()}


def _number_groups(columns: Columns) -> tuple[_Whole, _Whole, _Whole]:
    """The group of each operation, the group of each initial value, and the key of each group.

    A delete belongs to the value None.  Operations without a key get some number; nobody looks at it.
    """
    value = np.where(columns.f == DELETE, NO_VALUE, columns.value)
    span, keys = len(columns.values), len(columns.keys)
    of_row = np.maximum(columns.key, 0).astype(np.int64) * span + value
    of_initial = np.arange(keys) * span + columns.initial
    if span * keys <= _DENSE * (len(columns) + keys):
        return of_row, of_initial, np.repeat(np.arange(keys), span)
    names, numbers = np.unique(np.concatenate((of_row, of_initial)), return_inverse=True)
    return numbers[: len(columns)], numbers[len(columns) :], names // span


def _unwritten(groups: _Groups) -> dict[int, Clash]:
    """For each key, its first read of a value that nobody had begun to write when it returned."""
    columns, of_row = groups.columns, groups.of_row
    rows = np.flatnonzero(groups.is_read & (columns.returned < groups.began[of_row]))
    chosen = _first_of_each(columns.key[rows], rows)
    because = groups.is_write & (groups.is_source | (groups.sources[of_row] == 0))
    writes = groups.members(of_row[chosen], because) if chosen else {}
    found = {}
    for row in chosen:
        group = int(of_row[row])
        kind = "premature" if groups.sources[group] else "aborted" if writes[group] else "fabricated"
        found[int(columns.key[row])] = Clash(kind, columns.operation(row), writes[group])
    return found


def _repeated(groups: _Groups) -> dict[int, str]:
    """For each key, the doubt that its first read of a value with several sources leaves."""
    columns = groups.columns
    rows = np.flatnonzero(groups.is_read & (groups.sources[groups.of_row] > 1))
    chosen = _first_of_each(columns.key[rows], rows)
    return {int(columns.key[row]): REPEATED.format(columns.values[columns.value[row]]) for row in chosen}


@dataclass(frozen=True, slots=True, eq=False)
class _Zones:
    """One entry a zone, in the order in which zones.py makes them.

    `group` is the group of a zone, or -1 minus the row of the write that nobody read.  `start` and `end` are
    minf and maxs on one line for all keys.
    """

    key: _Whole
    group: _Whole
    start: _Whole
    end: _Whole

    @classmethod
    def of(cls, groups: _Groups) -> "_Zones":
        columns = groups.columns
        read = np.flatnonzero((groups.reads > 0) & (groups.sources == 1))
        read = read[np.argsort(groups.first_read[read])]
        acknowledged = groups.is_source & (columns.outcome == OK)
        unread = np.flatnonzero(acknowledged & (groups.reads[groups.of_row] == 0))
        key = np.concatenate((groups.key[read], columns.key[unread].astype(np.int64)))
        minf = np.concatenate((groups.minf[read], columns.returned[unread]))
        maxs = np.concatenate((groups.maxs[read], columns.invoked[unread]))
        start, end = _on_one_line(key, minf, maxs)
        return cls(key, np.concatenate((read, -1 - unread)), start, end)


def _on_one_line(key: _Whole, minf: _Whole, maxs: _Whole) -> tuple[_Whole, _Whole]:
    """The limits of zones on one line, on which each key has its own stretch."""
    limits = np.concatenate((minf, maxs))
    finite = limits[np.abs(limits) < PENDING]
    first, last = int(finite.min(initial=0)) - 1, int(finite.max(initial=0)) + 1
    span = last - first + 1
    if span * (int(key.max(initial=0)) + 1) > _FURTHEST:
        _, limits = np.unique(limits, return_inverse=True)  # ranks compare as the times do
        first, last, span = 0, len(limits), len(limits) + 1
    placed = np.clip(limits, first, last) - first + np.concatenate((key, key)) * span
    return placed[: len(key)], placed[len(key) :]


def _clashing(zones: _Zones) -> tuple[_Whole, _Whole]:
    """For each key that has them, two zones that clash: two forward ones that overlap, or else a backward one
    inside a forward one (see `zones`).
    """
    is_forward = zones.start < zones.end
    forward, backward = np.flatnonzero(is_forward), np.flatnonzero(~is_forward)
    forward = forward[np.argsort(zones.start[forward], kind="stable")]
    start, end = zones.start[forward], zones.end[forward]
    overlap = np.flatnonzero(start[1:] < end[:-1])
    # The last forward zone that starts before the end of a backward one; -1, where there is none, ends first.
    place = np.searchsorted(start, zones.end[backward]) - 1
    inside = np.flatnonzero(zones.start[backward] < np.append(end, -1)[place])
    one = np.concatenate((forward[overlap], np.append(forward, -1)[place[inside]]))
    other = np.concatenate((forward[overlap + 1], backward[inside]))
    _, first = np.unique(zones.key[one], return_index=True)
    return one[first], other[first]


def _zone_clashes(groups: _Groups) -> dict[int, Clash]:
    """For each key of which two zones clash, the explanation."""
    zones = _Zones.of(groups)
    one, other = _clashing(zones)
    clusters = _clusters(groups, np.concatenate((zones.group[one], zones.group[other])))
    return {
        int(zones.key[left]): explain_clash(
            clusters[int(zones.group[left])], clusters[int(zones.group[right])]
        )
        for left, right in zip(one, other, strict=True)
    }


def _clusters(groups: _Groups, numbers: _Whole) -> Mapping[int, Cluster]:
    """The clusters of some zones, by what `_Zones.group` says of them."""
    if not len(numbers):
        return {}
    read = numbers[numbers >= 0]
    reads, writes = groups.members(read, groups.is_read), groups.members(read, groups.is_source)
    found = {group: Cluster(next(iter(writes[group]), None), reads[group]) for group in reads}
    unread = (int(number) for number in numbers[numbers < 0])
    return found | {number: Cluster(groups.columns.operation(-1 - number), ()) for number in unread}
