"""Words for operations that failed, took too long or never returned, with the cache down or after healing."""

from collections.abc import Mapping

from cacheproof.models.operation import Outcome
from cacheproof.reports.findings.scene import Scene, Template, says
from cacheproof.reports.words import plain, seconds_words, shorten

__all__ = ["WAITS"]

_ERROR_CELLS = 60


def _down(scene: Scene) -> str:
    """ "while the cache was down (since 5)"."""
    since = scene.at(scene.finding.at[0], "since") if scene.finding.at else ""
    return f"while the cache was down{f' ({since})' if since else ''}"


def _when(scene: Scene) -> str:
    return _down(scene) if scene.finding.property == "availability" else "after everything was healed"


def _bound(scene: Scene) -> str:
    most = scene.finding.allowed[1] if scene.finding.allowed else None
    return f"; the bound is {seconds_words(most)}" if most is not None else ""


def _unavailable(scene: Scene) -> str:
    culprit = scene.finding.culprit
    doubt = culprit is not None and culprit.outcome is Outcome.INFO
    error = f": {shorten(plain(culprit.error), _ERROR_CELLS)}" if culprit and culprit.error else ""
    return f"{scene.call} {'ended in doubt' if doubt else 'failed'} {_down(scene)}{error}."


def _slow(scene: Scene) -> str:
    found = scene.finding.found
    took = f"took {seconds_words(found)}" if found is not None else "took too long"
    return f"{scene.call} {took} {_when(scene)}{_bound(scene)}."


def _slow_mark(scene: Scene) -> str:
    found = scene.finding.found
    return f"took {seconds_words(found)}" if found is not None else "took too long"


def _hangs(scene: Scene) -> str:
    found = scene.finding.found
    later = f" ({seconds_words(found)} after everything was healed)" if found else ""
    return f"{scene.call} never returned: it was still open when the run had come to rest{later}."


WAITS: Mapping[str, Template] = {
    "hangs": Template(_hangs, says("never returned")),
    "slow": Template(_slow, _slow_mark),
    "unavailable": Template(_unavailable, says("the cache was down")),
}
