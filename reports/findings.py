"""Findings in plain English: one sentence for each kind, made from the data of the finding alone.

A property returns operations and versions; here they become "B's read returned v1, although A's write of v2 had
returned before that read began".  Every kind also has a mark of a few words, set beside the culprit in the
diagram.  A kind without a template gets a generic sentence, never an exception.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cacheproof.models.event import Entered, Phase
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Value
from cacheproof.models.report import Counterexample
from cacheproof.models.verdict import Finding
from cacheproof.reports.changes import final_cache, older_in_cache
from cacheproof.reports.steps import Steps, steps_of
from cacheproof.reports.words import Names, listing, names_of, plain, seconds_words, show

__all__ = ["culprit_mark", "finding_sentences"]


@dataclass(frozen=True, slots=True)
class _Scene:
    """A finding and what its words are made of."""

    finding: Finding
    counterexample: Counterexample
    steps: Steps
    names: Names

    @property
    def history(self) -> History:
        return self.counterexample.history

    @property
    def of_key(self) -> str:
        """ " of user:1" where there are several keys; nothing where it goes without saying."""
        key = self.finding.key
        return f" of {show(key)}" if key is not None and len(self.history.initial) > 1 else ""

    @property
    def reader(self) -> str:
        """ "B's read", "B's read of user:2", "a read"."""
        culprit = self.finding.culprit
        if culprit is None:
            return f"a read{self.of_key}"
        return f"{self.names.client(culprit.process)}'s {plain(culprit.f)}{self.of_key}"

    @property
    def got(self) -> str:
        return show(self.finding.culprit.value) if self.finding.culprit else "a value"

    @property
    def held(self) -> Value:
        """What the database holds at the end."""
        key = self.finding.key or ""
        commits = self.history.commits.get(key, ())
        return commits[-1].value if commits else self.history.initial.get(key)

    def step(self, index: int | None, word: str = " at") -> str:
        """ " at 7" if event `index` is shown as step 7, else nothing."""
        number = self.steps.number(index)
        return f"{word} {number}" if number is not None else ""

    def act(self, operation: Operation) -> str:
        """ "A's write of v2", "A's delete", "A's read of v2"."""
        value = operation.value
        of = "" if value is None and operation.f != "read" else f" of {show(value)}"
        return f"{self.names.client(operation.process)}'s {plain(operation.f)}{of}"


def finding_sentences(counterexample: Counterexample, steps: Steps | None = None) -> tuple[str, ...]:
    """Why it is an anomaly, and how long it lasts: one or two sentences, each ending in a full stop."""
    scene = _scene(counterexample, steps)
    words, _, lasting = _TEMPLATES.get(scene.finding.kind, _GENERIC)
    first = words(scene)
    sentences = [first[:1].upper() + first[1:]]
    after = _aftermath(scene, told="database holds" in first) if lasting else None
    return (*sentences, after) if after else tuple(sentences)


def culprit_mark(counterexample: Counterexample, steps: Steps | None = None) -> str:
    """What is wrong with the culprit, in a few words: "v2 was acknowledged at 7"."""
    scene = _scene(counterexample, steps)
    _, mark, _ = _TEMPLATES.get(scene.finding.kind, _GENERIC)
    return mark(scene)


def _scene(counterexample: Counterexample, steps: Steps | None) -> _Scene:
    names = names_of(counterexample.history)
    return _Scene(counterexample.finding, counterexample, steps or steps_of(counterexample), names)


def _aftermath(scene: _Scene, told: bool) -> str | None:
    """What the cache goes on serving once the culprit has returned, and for how long."""
    finding, history = scene.finding, scene.history
    if finding.key is None:
        return None
    until = finding.culprit.returned if finding.culprit else None
    entry = final_cache(finding.key, history, scene.counterexample.snapshots, until)
    reached = [item for item in history.commits.get(finding.key, ()) if until is None or item.index <= until]
    versions = {key: [value] for key, value in history.initial.items()}
    versions.setdefault(finding.key, [None]).extend(item.value for item in reached)
    database = "" if told else f"; the database holds {show(versions[finding.key][-1])}"
    if entry is None or older_in_cache(finding.key, {finding.key: entry}, versions) is None:
        return None
    limit = "for up to " + seconds_words(entry[1]) if entry[1] is not None else "until a write replaces it"
    return f"The cache goes on serving {show(entry[0])} {limit}{database}."


def _newer(scene: _Scene) -> str:
    """Which write made the value stale, as the subject of "had returned before"."""
    because = scene.finding.because
    return listing(scene.act(item) for item in because) if because else ""


def _stale_read(scene: _Scene) -> str:
    said = f"{scene.reader} returned {scene.got}, although"
    if newer := _newer(scene):
        return f"{said} {newer} had returned before that read began."
    if versions := scene.finding.versions:
        return f"{said} {show(versions[-1].value)} had been committed before that read began."
    return f"{said} a newer value had been written before that read began."


def _stale_read_mark(scene: _Scene) -> str:
    for item in scene.finding.because:
        value = show(item.value) if item.value is not None else f"the {plain(item.f)}"
        verb = "was read" if item.f == "read" else "was acknowledged"
        return f"{value} {verb}{scene.step(item.returned)}"
    return "a newer value was written before"


def _divergence(scene: _Scene) -> str:
    after = _after_everything(scene)
    return f"{after} {scene.reader} still returned {scene.got}; the database holds {show(scene.held)}."


def _after_everything(scene: _Scene) -> str:
    """ "after everything had ended", with the seconds since then if there are any."""
    ends = [
        event.at_s
        for event in scene.history.events
        if isinstance(event, Entered) and event.phase in (Phase.QUIESCE, Phase.READ)
    ]
    culprit = scene.finding.culprit
    later = culprit.invoked_s - ends[0] if culprit and ends else 0.0
    return f"{seconds_words(later)} after everything had ended" if later > 0 else "after everything had ended"


def _beyond_bound(scene: _Scene) -> str:
    stale = scene.finding.stale_s
    newest = scene.finding.versions[-1].value if scene.finding.versions else scene.held
    if not stale:
        return (
            f"{scene.reader} returned {scene.got}, but {show(newest)} had replaced it before that read began."
        )
    since = f"{seconds_words(stale)} before: longer than the bound allows"
    return f"{scene.reader} returned {scene.got}, which {show(newest)} had replaced {since}."


def _beyond_bound_mark(scene: _Scene) -> str:
    stale = scene.finding.stale_s
    return f"stale for {seconds_words(stale)}" if stale else "already replaced"


def _lost_write(scene: _Scene) -> str:
    culprit = scene.finding.culprit
    if culprit is None:
        return f"an acknowledged write{scene.of_key} was lost: the database holds {show(scene.held)}."
    acknowledged = f"{scene.act(culprit)}{scene.of_key} was acknowledged{scene.step(culprit.returned)}"
    if _was_committed(scene, culprit.value):
        return f"{acknowledged} and committed, but it is gone: the database holds {show(scene.held)}."
    still = "still " if not scene.history.commits.get(scene.finding.key or "") else ""
    return f"{acknowledged}, but the database never received it: it {still}holds {show(scene.held)}."


def _was_committed(scene: _Scene, value: Value) -> bool:
    return any(item.value == value for item in scene.history.commits.get(scene.finding.key or "", ()))


def _fabricated(scene: _Scene) -> str:
    return f"{scene.reader} returned {scene.got}, a value that nobody ever wrote."


def _foreign(scene: _Scene) -> str:
    owner = _owner(scene)
    return f"{scene.reader} returned {scene.got}, which is a value of {owner}."


def _owner(scene: _Scene) -> str:
    value, key = scene.finding.culprit.value if scene.finding.culprit else None, scene.finding.key
    history = scene.history
    records = [(name, initial) for name, initial in history.initial.items()]
    records += [(op.key, op.value) for op in history.operations if op.f != "read" and op.key is not None]
    owners = [name for name, held in records if held == value and name != key]
    return show(owners[0]) if owners and value is not None else "another key"


def _aborted(scene: _Scene) -> str:
    writer = _writer(scene)
    return f"{scene.reader} returned {scene.got}, but {writer} failed: that value never took effect."


def _writer(scene: _Scene) -> str:
    return _newer(scene) or f"the write of {scene.got}"


def _premature(scene: _Scene) -> str:
    if any(item.invoked > (scene.finding.culprit or item).invoked for item in scene.finding.because):
        return f"{scene.reader} returned {scene.got} before {_writer(scene)} had begun."
    return f"{scene.reader} returned {scene.got} before it was committed."


def _uncommitted(scene: _Scene) -> str:
    culprit = scene.finding.culprit
    ever = culprit is not None and _was_committed(scene, culprit.value)
    if ever:
        return f"{scene.reader} returned {scene.got} before the database had committed it."
    return f"{scene.reader} returned {scene.got}, but the database never committed it: it holds {show(scene.held)}."


def _non_linearizable(scene: _Scene) -> str:
    culprit = scene.finding.culprit
    told = [*scene.finding.because, *([culprit] if culprit else [])]
    acts = listing(scene.act(item) for item in sorted(told, key=lambda item: item.invoked))
    return f"no single order of the operations{scene.of_key} explains these together: {acts}."


def _generic(scene: _Scene) -> str:
    finding = scene.finding
    kind = plain(finding.kind.replace("-", " "))
    said = f"the property {plain(finding.property)} is broken{f' for {show(finding.key)}' if finding.key else ''}"
    culprit = finding.culprit
    shown = f", shown by {scene.act(culprit)}{scene.step(culprit.invoked)}" if culprit else ""
    because = f", because of {_newer(scene)}" if finding.because else ""
    return f"{said} ({kind}){shown}{because}."


def _generic_mark(scene: _Scene) -> str:
    return plain(scene.finding.kind.replace("-", " "))


def _says(words: str) -> Callable[[_Scene], str]:
    return lambda scene: words


def _held_mark(scene: _Scene) -> str:
    return f"the database holds {show(scene.held)}"


_Words = Callable[[_Scene], str]
_GENERIC: tuple[_Words, _Words, bool] = (_generic, _generic_mark, False)
_TEMPLATES: Mapping[str, tuple[_Words, _Words, bool]] = {
    # kind: the sentence, the mark, and whether the state of the cache afterwards is part of the story
    "aborted": (_aborted, _says("that write had failed"), False),
    "divergence": (_divergence, _held_mark, True),
    "fabricated": (_fabricated, _says("nobody wrote this"), False),
    "foreign": (_foreign, lambda scene: f"a value of {_owner(scene)}", False),
    "lost-write": (_lost_write, _says("lost: the database does not have it"), False),
    "non-linearizable": (_non_linearizable, _says("no order explains this"), True),
    "premature": (_premature, _says("not written yet"), False),
    "staleness-beyond-bound": (_beyond_bound, _beyond_bound_mark, True),
    "stale-read": (_stale_read, _stale_read_mark, True),
    "uncommitted": (_uncommitted, _says("not committed"), False),
}
