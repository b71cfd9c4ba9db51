"""Words for values that should not be seen: too old, never written, not committed, or only a part of the whole."""

from collections.abc import Mapping

from cacheproof.models.event import Entered, Phase
from cacheproof.models.operation import Operation, Value
from cacheproof.models.register import pairs_of
from cacheproof.reports.findings.scene import Scene, Template, counted_words, number_words, says
from cacheproof.reports.words import plain, seconds_words, show

__all__ = ["VALUES", "lag_words"]


def lag_words(scene: Scene) -> str:
    """For Δ-atomicity: how far reads would have to lag behind, and how far they may; else nothing."""
    finding = scene.finding
    if finding.found is None or finding.allowed is None or not finding.allowed[1]:
        return ""
    needed, most = seconds_words(finding.found), seconds_words(finding.allowed[1])
    return f"; to explain it, reads would have to lag {needed} behind, and {most} are allowed"


# Too old


def _stale_read(scene: Scene) -> str:
    said = f"{scene.reader} returned {scene.got}, although"
    if newer := scene.because:
        return f"{said} {newer} had returned before that read began{lag_words(scene)}."
    if versions := scene.finding.versions:
        return f"{said} {show(versions[-1].value)} had been committed before that read began."
    return f"{said} a newer value had been written before that read began."


def _stale_read_mark(scene: Scene) -> str:
    for item in scene.finding.because:
        value = show(item.value) if item.value is not None else f"the {plain(item.f)}"
        verb = "was read" if item.f == "read" else "was acknowledged"
        return f"{value} {verb}{scene.at(item.returned)}"
    return "a newer value was written before"


def _divergence(scene: Scene) -> str:
    held = f"; the database holds {show(scene.held)}" if scene.knows_held else ", unlike the database"
    return f"{_after_everything(scene)} {scene.reader} still returned {scene.got}{held}."


def _after_everything(scene: Scene) -> str:
    """ "after everything had ended", with the seconds since then if there are any."""
    events = scene.history.events if scene.history else ()
    ends = [
        event.at_s
        for event in events
        if isinstance(event, Entered) and event.phase in (Phase.QUIESCE, Phase.READ)
    ]
    culprit = scene.finding.culprit
    later = culprit.invoked_s - ends[0] if culprit and ends else 0.0
    return f"{seconds_words(later)} after everything had ended" if later > 0 else "after everything had ended"


def _held_mark(scene: Scene) -> str:
    return f"the database holds {show(scene.held)}" if scene.knows_held else "not what the database holds"


def _beyond_bound(scene: Scene) -> str:
    stale = scene.finding.stale_s
    newest = scene.finding.versions[-1].value if scene.finding.versions else scene.held
    if not stale:
        return (
            f"{scene.reader} returned {scene.got}, but {show(newest)} had replaced it before that read began."
        )
    since = f"{seconds_words(stale)} before: longer than the bound allows"
    return f"{scene.reader} returned {scene.got}, which {show(newest)} had replaced {since}."


def _beyond_bound_mark(scene: Scene) -> str:
    stale = scene.finding.stale_s
    return f"stale for {seconds_words(stale)}" if stale else "already replaced"


def _versions_behind(scene: Scene) -> str:
    finding = scene.finding
    behind = f"which was {counted_words(finding.found, 'version')} behind when that read began"
    were = "was" if len(finding.because) == 1 else "were"
    newer = f": {scene.because} {were} complete before" if finding.because else ""
    most = finding.allowed[1] if finding.allowed else None
    allowed = "" if most is None else f"; at most {number_words(most)} may be" if most else "; none may be"
    return f"{scene.reader} returned {scene.got}, {behind}{newer}{allowed}."


def _versions_behind_mark(scene: Scene) -> str:
    return f"{counted_words(scene.finding.found, 'version')} behind"


def _late_invalidation(scene: Scene) -> str:
    finding = scene.finding
    held = _old_version(scene)
    newest = show(finding.versions[-1].value) if finding.versions else "a newer version"
    after = f"{seconds_words(finding.found)} after" if finding.found else "after"
    most = finding.allowed[1] if finding.allowed else None
    bound = f": {seconds_words(most)} are allowed" if most else ""
    return (
        f"{_copy(scene)} still held {held}{scene.at_all(finding.at)}, {after} {newest} was committed{bound}."
    )


def _copy(scene: Scene) -> str:
    culprit = scene.finding.culprit
    inside = culprit is not None and not scene.finding.at
    where = f"inside {scene.names.lane(culprit.process)}" if culprit and inside else "at the cache server"
    return f"the copy{scene.of_key} {where}"


def _old_version(scene: Scene) -> str:
    finding = scene.finding
    if len(finding.versions) > 1:
        return show(finding.versions[0].value)
    if finding.culprit is not None and not finding.at:
        return scene.got
    return show(scene.history.initial.get(finding.key or "")) if scene.history else "an older version"


def _late_invalidation_mark(scene: Scene) -> str:
    found = scene.finding.found
    return f"invalid for {seconds_words(found)}" if found else "already invalid"


# Not to be seen at all


def _fabricated(scene: Scene) -> str:
    return f"{scene.reader} returned {scene.got}, a value that nobody ever wrote."


def _foreign(scene: Scene) -> str:
    return f"{scene.reader} returned {scene.got}, which is a value of {_owner(scene)}."


def _owner(scene: Scene) -> str:
    history, key = scene.history, scene.finding.key
    value = scene.finding.culprit.value if scene.finding.culprit else None
    if history is None or value is None:
        return "another key"
    records = [(name, initial) for name, initial in history.initial.items()]
    records += [(op.key, op.value) for op in history.operations if op.f != "read" and op.key is not None]
    owners = [name for name, held in records if held == value and name != key]
    return show(owners[0]) if owners else "another key"


def _aborted(scene: Scene) -> str:
    return f"{scene.reader} returned {scene.got}, but {_writer(scene)} failed: that value never took effect."


def _writer(scene: Scene) -> str:
    return scene.because or f"the write of {scene.got}"


def _premature(scene: Scene) -> str:
    if any(item.invoked > (scene.finding.culprit or item).invoked for item in scene.finding.because):
        return f"{scene.reader} returned {scene.got} before {_writer(scene)} had begun."
    return f"{scene.reader} returned {scene.got} before it was committed."


def _uncommitted(scene: Scene) -> str:
    culprit = scene.finding.culprit
    if culprit is not None and scene.was_committed(culprit.value):
        return f"{scene.reader} returned {scene.got} before the database had committed it."
    holds = f": it holds {show(scene.held)}" if scene.knows_held else ""
    return f"{scene.reader} returned {scene.got}, but the database never committed it{holds}."


def _resurrected(scene: Scene) -> str:
    deleted = f"{scene.because} had returned" if scene.finding.because else "it had been deleted"
    return (
        f"{scene.reader} returned {scene.got}, although {deleted} before that read began, "
        "and nobody wrote that value again."
    )


def _resurrected_mark(scene: Scene) -> str:
    deletes = scene.finding.because
    return f"deleted{scene.at(deletes[-1].returned)}" if deletes else "it had been deleted"


def _fractured(scene: Scene) -> str:
    finding = scene.finding
    key = show(finding.key) if finding.key is not None else "a key"
    writes = scene.called(*finding.because) if finding.because else "a transaction"
    seen, whole = _part(finding.culprit, finding.key), _part(next(iter(finding.because), None), finding.key)
    said = f"{scene.called(finding.culprit)} saw" if finding.culprit else "a read of several keys saw"
    parts = [f"was {show(seen[0])}"] if seen else ["was older"]
    parts += [f"not {show(whole[0])}"] if whole else []
    return f"{said} one part of {writes} and not the other: {key} {', '.join(parts)}."


def _part(operation: Operation | None, key: str | None) -> tuple[Value] | None:
    """What an operation on several keys read or wrote of one of them."""
    told = operation and (operation.result if operation.f == "read_many" else operation.value)
    pairs = pairs_of(told) if isinstance(told, tuple) else None
    return (pairs[key],) if pairs and key is not None and key in pairs else None


def _fractured_mark(scene: Scene) -> str:
    return f"{'a part' if scene.finding.key is None else show(scene.finding.key)} lags behind"


def _unheard(scene: Scene) -> str:
    """The culprit is a read of something older, or else the operation of which the cache has not heard."""
    finding = scene.finding
    told = "a worker was told, and nobody set or deleted the entry after that"
    if finding.kind == "unheard-write":
        told = "it returned, and had neither set nor deleted the entry"
    if finding.because:
        return f"{scene.because} never reached the cache: {told}; {scene.reader} still returned {scene.got}."
    who = scene.act(finding.culprit) if finding.culprit else "an event"
    return f"{who}{scene.of_key} never reached the cache: {told}."


VALUES: Mapping[str, Template] = {
    "aborted": Template(_aborted, says("that write had failed")),
    "divergence": Template(_divergence, _held_mark, lasting=True),
    "fabricated": Template(_fabricated, says("nobody wrote this")),
    "foreign": Template(_foreign, lambda scene: f"a value of {_owner(scene)}"),
    "fractured-read": Template(_fractured, _fractured_mark),
    "late-invalidation": Template(_late_invalidation, _late_invalidation_mark, lasting=True),
    "premature": Template(_premature, says("not written yet")),
    "resurrected": Template(_resurrected, _resurrected_mark, lasting=True),
    "stale-read": Template(_stale_read, _stale_read_mark, lasting=True),
    "staleness-beyond-bound": Template(_beyond_bound, _beyond_bound_mark, lasting=True),
    "uncommitted": Template(_uncommitted, says("not committed")),
    "unheard-event": Template(_unheard, says("nobody in the cache has heard"), lasting=True),
    "unheard-write": Template(_unheard, says("nobody in the cache has heard"), lasting=True),
    "versions-behind": Template(_versions_behind, _versions_behind_mark, lasting=True),
}
