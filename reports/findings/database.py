"""Words for what the database was left with: lost, reordered or miscounted writes, and writes nobody asked for."""

from collections.abc import Mapping

from cacheproof.reports.findings.scene import Scene, Template, number_words, range_words, says
from cacheproof.reports.words import listing, plain, show

__all__ = ["DATABASE"]


def _lost_write(scene: Scene) -> str:
    culprit = scene.finding.culprit
    holds = f"holds {show(scene.held)}" if scene.knows_held else "does not hold it"
    if culprit is None:
        return f"an acknowledged write{scene.of_key} was lost: the database {holds}."
    acknowledged = f"{scene.act(culprit)}{scene.of_key} was acknowledged{scene.at(culprit.returned)}"
    if scene.was_committed(culprit.value):
        return f"{acknowledged} and committed, but it is gone: the database {holds}."
    untouched = scene.history is not None and not scene.history.commits.get(scene.finding.key or "")
    return f"{acknowledged}, but the database never received it: it {'still ' if untouched else ''}{holds}."


def _flush_reorder(scene: Scene) -> str:
    finding = scene.finding
    late, over = _late(scene), next(iter(finding.because), None)
    newer = show(finding.versions[0].value) if len(finding.versions) > 1 else "a newer version"
    if finding.culprit is None:
        whose = f" ({scene.act(over)})" if over else ""
        back = f"the database went back to {late}, the record{scene.of_key} before the run"
        return f"{back}, after it had committed {newer}{whose}."
    said = f"the database committed {late}{scene.of_key} after {newer}"
    if over is not None and finding.culprit.precedes(over):
        return f"{said}, although {scene.act(finding.culprit)} had returned before {scene.act(over)} began."
    writes = [finding.culprit, *finding.because]
    return f"{said}, which no order of the writes explains: see {scene.acts(writes)}."


def _late(scene: Scene) -> str:
    versions, culprit = scene.finding.versions, scene.finding.culprit
    if versions:
        return show(versions[-1].value)
    return show(culprit.value) if culprit else "an older version"


def _flush_reorder_mark(scene: Scene) -> str:
    versions = scene.finding.versions
    return f"committed after {show(versions[0].value)}" if len(versions) > 1 else "committed too late"


def _sum(scene: Scene, why: str) -> str:
    finding = scene.finding
    key = show(finding.key) if finding.key is not None else "a counter"
    asked = f"the increments can make {range_words(finding.allowed)}"
    return f"the database added {number_words(finding.found)} to {key}{scene.at_all(finding.at)}, but {asked}: {why}."


def _double_applied(scene: Scene) -> str:
    return _sum(scene, "one of them was applied more than once")


def _lost_increment(scene: Scene) -> str:
    return _sum(scene, "one that was acknowledged is missing")


def _impossible_sum(scene: Scene) -> str:
    return _sum(scene, "no choice of the ambiguous ones explains the difference")


def _warm_up_writes(scene: Scene) -> str:
    finding = scene.finding
    who = scene.called(finding.culprit) if finding.culprit else "a warm-up"
    shown = [f"{show(item.value)} of {plain(item.key)}" for item in finding.versions]
    visible = f", and made {listing(shown)} visible" if shown else ""
    return f"{who} wrote to the database{scene.at_all(finding.at)}{visible}."


DATABASE: Mapping[str, Template] = {
    "double-applied": Template(_double_applied, says("applied more than once")),
    "flush-reorder": Template(_flush_reorder, _flush_reorder_mark),
    "impossible-sum": Template(_impossible_sum, says("no sum of increments")),
    "lost-increment": Template(_lost_increment, says("an increment is missing")),
    "lost-write": Template(_lost_write, says("lost: the database does not have it")),
    "warm-up-writes": Template(_warm_up_writes, says("wrote to the database")),
}
