"""Words for locks: two holders at once, tokens that do not grow, and locks that nobody alive holds."""

from collections.abc import Mapping

from cacheproof.models.operation import Outcome
from cacheproof.reports.findings.scene import Scene, Template, number_words
from cacheproof.reports.words import listing, seconds_words, show

__all__ = ["LOCKS"]


def _acquire(scene: Scene) -> str:
    culprit = scene.finding.culprit
    return f"{scene.called(culprit) if culprit else 'an acquire'}{scene.of_key}"


def _two_holders(scene: Scene) -> str:
    finding = scene.finding
    returned = scene.at(finding.culprit.returned) if finding.culprit else ""
    said = f"{_acquire(scene)} succeeded{returned}"
    if not finding.because:
        return f"{said} while somebody else held the lock."
    holder, *release = finding.because
    name = scene.client(holder)
    since = f", who had acquired it{scene.at(holder.returned)}"
    until = f", called release only later{scene.at(release[0].invoked)}" if release else ", never released it"
    lost = f"; {name} may have lost it{scene.at(finding.at[0])}, unawares" if finding.at else ""
    return f"{said} while {name} held the lock: {name}{since}{until}{lost}."


def _two_holders_mark(scene: Scene) -> str:
    holder = next(iter(scene.finding.because), None)
    return f"{scene.client(holder)} still held the lock" if holder else "somebody else held the lock"


def _fence(scene: Scene) -> str:
    finding = scene.finding
    said = f"{_acquire(scene)} got the token {number_words(finding.found)}"
    if not finding.because:
        return f"{said}, which is no greater than one that was given before."
    earlier = finding.because[0]
    token = show(earlier.result if earlier.result is not None else earlier.value)
    return f"{said}, although {scene.client(earlier)} had got {token} before: a token must be greater."


def _fence_mark(scene: Scene) -> str:
    least = scene.finding.allowed[0] if scene.finding.allowed else None
    return f"the token must be {number_words(least)} or more" if least is not None else "no greater token"


def _orphan_lock(scene: Scene) -> str:
    finding = scene.finding
    culprit = finding.culprit
    refused = culprit is not None and (finding.found is None or culprit.outcome is not Outcome.INFO)
    waited = f" for {seconds_words(finding.found)}" if finding.found else ""
    fate = "was refused" if refused else f"hung{waited}"
    dead = listing(dict.fromkeys(scene.client(item) for item in finding.because))
    why = f": {dead} died holding it" if finding.because else ""
    return f"{_acquire(scene)} {fate}, although nobody alive holds the lock{why}."


def _orphan_lock_mark(scene: Scene) -> str:
    dead = listing(dict.fromkeys(scene.client(item) for item in scene.finding.because))
    return f"held by {dead}, who is dead" if dead else "nobody alive holds it"


LOCKS: Mapping[str, Template] = {
    "fence-not-increasing": Template(_fence, _fence_mark),
    "orphan-lock": Template(_orphan_lock, _orphan_lock_mark),
    "two-holders": Template(_two_holders, _two_holders_mark),
}
