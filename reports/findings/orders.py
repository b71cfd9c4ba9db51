"""Words for operations that admit no order: in real time, in the order of each client, or of cause and effect."""

from collections.abc import Mapping

from cacheproof.models.operation import Operation
from cacheproof.models.register import is_write
from cacheproof.reports.findings.scene import Scene, Template, Words, says
from cacheproof.reports.findings.values import lag_words
from cacheproof.reports.words import listing, show

__all__ = ["ORDERS"]


def _together(scene: Scene) -> str:
    """The culprit among the operations that admit no order with it, in order of invocation."""
    finding = scene.finding
    told = [*finding.because, *([finding.culprit] if finding.culprit else [])]
    ordered = sorted(told, key=lambda item: item.invoked)
    return scene.acts(ordered, key=True) if ordered else "all that was observed"


def _non_linearizable(scene: Scene) -> str:
    finding = scene.finding
    if finding.property != "linearizable-as" or finding.culprit is None:
        return (
            f"no single order of the operations{scene.of_key} explains these together: "
            f"{_together(scene)}{lag_words(scene)}."
        )
    near = f"; seen beside it: {scene.because}" if finding.because else ""
    return f"no single order of the operations{scene.of_key} explains {scene.act(finding.culprit)}{near}."


def _non_sequential(scene: Scene) -> str:
    finding = scene.finding
    if finding.culprit is None:
        return f"no single order of all operations keeps each client's own order: see {_together(scene)}."
    near = f"; seen beside it: {scene.acts(finding.because, key=True)}" if finding.because else ""
    return (
        "no single order of all operations that keeps each client's own order explains "
        f"{scene.act(finding.culprit, key=True)}{'' if scene.mixed else scene.on_key}{near}."
    )


def _initial_after_write(scene: Scene) -> str:
    finding = scene.finding
    path = f": {_path(scene, finding.because)}" if finding.because else ""
    return (
        f"{scene.reader} returned {scene.got}, as if nothing had been written, "
        f"although a write of that key had led to it{path}."
    )


def _path(scene: Scene, operations: tuple[Operation, ...]) -> str:
    """ "A's write of v1, then B's read of v1, then this read"."""
    return f"{', then '.join(scene.act(item, key=True) for item in operations)}, then this read"


def _stale_causal_read(scene: Scene) -> str:
    finding = scene.finding
    newer = [item for item in finding.because[1:] if is_write(item) and item.key == finding.key]
    over = scene.act(newer[-1]) if newer else "a newer write"
    path = f": {_path(scene, finding.because)}" if finding.because else ""
    return (
        f"{scene.reader} returned {scene.got}, although {over} had overwritten it, "
        f"as whoever read this could have known{path}."
    )


def _causality_cycle(scene: Scene) -> str:
    finding = scene.finding
    acts = [*([finding.culprit] if finding.culprit else []), *finding.because]
    told = listing(scene.act(item, key=True) for item in acts) or "these operations"
    return f"cause and effect{scene.where} go in a circle, each of these before the next, and the last before the first: {told}."


def _arbitration_cycle(scene: Scene) -> str:
    return (
        f"readers disagree which of the concurrent writes{scene.where} is the newest; "
        f"no one order of the writes explains these together: {_together(scene)}."
    )


def _view_cycle(scene: Scene) -> str:
    culprit = scene.finding.culprit
    who = scene.client(culprit) if culprit else "one client"
    return f"no one order explains all that {who} read{scene.where}: see {_together(scene)}."


def _causality_violation(scene: Scene) -> str:
    return f"cause and effect{scene.where} do not explain these together: {_together(scene)}."


def _overwritten_mark(scene: Scene) -> str:
    newer = [item for item in scene.finding.because if is_write(item) and item.key == scene.finding.key]
    return f"{show(newer[-1].value)} had led to this" if newer else "a newer value had led to this"


_NO_ORDER: Words = says("no order explains this")

ORDERS: Mapping[str, Template] = {
    "arbitration-cycle": Template(_arbitration_cycle, says("others saw these writes in another order")),
    "causality-cycle": Template(_causality_cycle, says("the effect came before its cause")),
    "causality-violation": Template(_causality_violation, says("against cause and effect")),
    "initial-after-write": Template(_initial_after_write, _overwritten_mark, lasting=True),
    "non-linearizable": Template(_non_linearizable, _NO_ORDER, lasting=True),
    "non-sequential": Template(_non_sequential, says("no order of all operations explains this")),
    "stale-causal-read": Template(_stale_causal_read, _overwritten_mark, lasting=True),
    "view-cycle": Template(_view_cycle, says("not in one order with what was read before")),
}
