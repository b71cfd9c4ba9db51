"""Words for what was asked too often: loads of one entry, and exchanges of one operation."""

from collections.abc import Mapping

from cacheproof.reports.findings.scene import Scene, Template, counted_words, number_words, range_words
from cacheproof.reports.words import show

__all__ = ["LOADS"]


def _count(scene: Scene, noun: str) -> str:
    return counted_words(scene.finding.found, noun)


def _most(scene: Scene) -> str:
    """The most that is allowed, in words."""
    allowed = scene.finding.allowed
    return number_words(allowed[1]) if allowed and allowed[1] is not None else range_words(allowed)


def _stampede(scene: Scene) -> str:
    finding = scene.finding
    key = f" of {show(finding.key)}" if finding.key is not None else ""
    told = [*([finding.culprit] if finding.culprit else []), *finding.because]
    by = f", by {scene.called(*sorted(told, key=lambda item: item.invoked))}" if told else ""
    return f"{_count(scene, 'load')}{key} ran{scene.at_all(finding.at)}{by}, where {_most(scene)} would do."


def _stampede_mark(scene: Scene) -> str:
    return f"{_count(scene, 'load')}, where {_most(scene)} would do"


def _round_trips(scene: Scene) -> str:
    finding = scene.finding
    trips = f"{_count(scene, 'round trip')}{scene.at_all(finding.at)}"
    return f"{scene.call} took {trips}; at most {_most(scene)} may be needed."


def _round_trips_mark(scene: Scene) -> str:
    return f"{_count(scene, 'round trip')}, at most {_most(scene)}"


LOADS: Mapping[str, Template] = {
    "stampede": Template(_stampede, _stampede_mark),
    "too-many-round-trips": Template(_round_trips, _round_trips_mark),
}
