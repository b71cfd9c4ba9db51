"""The table of words, and what becomes of a finding: a sentence or two, and a mark beside the culprit.

A property returns operations and versions; here they become "B's read returned v1, although A's write of v2 had
returned before that read began".  A kind without a template gets a generic sentence, never an exception.
"""

from collections.abc import Mapping

from cacheproof.models.history import History
from cacheproof.models.report import Counterexample
from cacheproof.models.verdict import Finding
from cacheproof.reports.changes import final_cache, older_in_cache
from cacheproof.reports.findings.database import DATABASE
from cacheproof.reports.findings.loads import LOADS
from cacheproof.reports.findings.locks import LOCKS
from cacheproof.reports.findings.orders import ORDERS
from cacheproof.reports.findings.scene import Scene, Template
from cacheproof.reports.findings.sessions import SESSIONS
from cacheproof.reports.findings.values import VALUES
from cacheproof.reports.findings.waits import WAITS
from cacheproof.reports.steps import Steps, steps_of
from cacheproof.reports.words import Names, names_of, plain, seconds_words, show

__all__ = ["TEMPLATES", "culprit_mark", "finding_sentences", "finding_words"]

TEMPLATES: Mapping[str, Template] = {
    **DATABASE,
    **LOADS,
    **LOCKS,
    **ORDERS,
    **SESSIONS,
    **VALUES,
    **WAITS,
}
"""The words for every kind of finding that the properties of cacheproof make."""


def finding_sentences(counterexample: Counterexample, steps: Steps | None = None) -> tuple[str, ...]:
    """Why it is an anomaly, and how long it lasts: one or two sentences, each ending in a full stop."""
    scene = _scene(counterexample, steps)
    first = _sentence(scene)
    lasting = _template(scene.finding).lasting
    after = _aftermath(counterexample, told="database holds" in first) if lasting else None
    return (first, after) if after else (first,)


def culprit_mark(counterexample: Counterexample, steps: Steps | None = None) -> str:
    """What is wrong with the culprit, in a few words: "v2 was acknowledged at 7"."""
    scene = _scene(counterexample, steps)
    return _template(scene.finding).mark(scene)


def finding_words(finding: Finding, names: Names, history: History | None = None) -> str:
    """Why it is an anomaly, where nothing is drawn: one sentence that names events by their indices."""
    return _sentence(Scene(finding, names, history))


def _scene(counterexample: Counterexample, steps: Steps | None) -> Scene:
    history = counterexample.history
    return Scene(counterexample.finding, names_of(history), history, steps or steps_of(counterexample))


def _template(finding: Finding) -> Template:
    return TEMPLATES.get(finding.kind, _GENERIC)


def _sentence(scene: Scene) -> str:
    words = _template(scene.finding).sentence(scene)
    return words[:1].upper() + words[1:]


def _aftermath(counterexample: Counterexample, told: bool) -> str | None:
    """What the cache goes on serving once the culprit has returned, and for how long."""
    finding, history = counterexample.finding, counterexample.history
    if finding.key is None:
        return None
    until = finding.culprit.returned if finding.culprit else None
    entry = final_cache(finding.key, history, counterexample.snapshots, until)
    reached = [item for item in history.commits.get(finding.key, ()) if until is None or item.index <= until]
    versions = {key: [value] for key, value in history.initial.items()}
    versions.setdefault(finding.key, [None]).extend(item.value for item in reached)
    database = "" if told else f"; the database holds {show(versions[finding.key][-1])}"
    if entry is None or older_in_cache(finding.key, {finding.key: entry}, versions) is None:
        return None
    limit = "for up to " + seconds_words(entry[1]) if entry[1] is not None else "until a write replaces it"
    return f"The cache goes on serving {show(entry[0])} {limit}{database}."


def _generic(scene: Scene) -> str:
    finding = scene.finding
    kind = plain(finding.kind.replace("-", " "))
    said = f"the property {plain(finding.property)} is broken{f' for {show(finding.key)}' if finding.key else ''}"
    culprit = finding.culprit
    shown = f", shown by {scene.act(culprit)}{scene.at(culprit.invoked)}" if culprit else ""
    because = f", because of {scene.because}" if finding.because else ""
    return f"{said} ({kind}){shown}{because}."


def _generic_mark(scene: Scene) -> str:
    return plain(scene.finding.kind.replace("-", " "))


_GENERIC = Template(_generic, _generic_mark)
