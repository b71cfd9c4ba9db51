"""Words for what a client may expect of its own reads and writes.

The evidence is a circle of demands.  Where it consists of one client's own operations, and of writes that real
time puts in order, the sentence is about the two operations that contradict each other; where other clients'
reads are needed as well, it says so and names them.
"""

from collections.abc import Mapping

from cacheproof.models.operation import Operation
from cacheproof.models.register import is_write
from cacheproof.reports.findings.scene import Scene, Template
from cacheproof.reports.words import show

__all__ = ["SESSIONS"]


def _own(scene: Scene, *, writes: bool) -> Operation | None:
    """The last write (or read) of the culprit's own client that came before the culprit."""
    culprit = scene.finding.culprit
    found = [
        item
        for item in scene.finding.because
        if culprit is not None and item.process == culprit.process and is_write(item) is writes
    ]
    return found[-1] if found else None


def _others(scene: Scene) -> tuple[Operation, ...]:
    """The operations of others, if any of them is a read: then the circle leads through their sessions."""
    culprit = scene.finding.culprit
    process = culprit.process if culprit else None
    others = tuple(item for item in scene.finding.because if item.process != process)
    return others if any(not is_write(item) for item in others) else ()


def _with_others(scene: Scene) -> str:
    others = _others(scene)
    return f"; no order of the versions explains this together with {scene.acts(others)}" if others else ""


def _had_done(operation: Operation) -> str:
    """ "written v2", "deleted it", "read v2"."""
    if operation.f == "delete":
        return "deleted it"
    return f"{'written' if is_write(operation) else 'read'} {show(operation.value)}"


def _older_read(scene: Scene, *, writes: bool) -> str:
    own, culprit = _own(scene, writes=writes), scene.finding.culprit
    if own is None or culprit is None:
        did = "written" if writes else "read"
        return f"{scene.reader} returned {scene.got}, older than what the same client had {did} before."
    if others := _with_others(scene):
        return (
            f"{scene.reader} returned {scene.got} after {scene.client(culprit)} had {_had_done(own)}{others}."
        )
    return (
        f"{scene.reader} returned an older version, {scene.got}, "
        f"although {scene.client(culprit)} had already {_had_done(own)}."
    )


def _late_write(scene: Scene, *, writes: bool) -> str:
    own, culprit = _own(scene, writes=writes), scene.finding.culprit
    told = f"{scene.act(culprit)}{scene.on_key}" if culprit else f"a write{scene.of_key}"
    if own is None or culprit is None:
        did = "written" if writes else "read"
        return f"the database took {told} before a version that the same client had {did} earlier."
    if others := _with_others(scene):
        return f"{told} came after {scene.client(culprit)} had {_had_done(own)}{others}."
    earlier = "its own deletion, which" if own.f == "delete" else f"{show(own.value)}, which"
    did = "made" if own.f == "delete" else "written" if writes else "read"
    return f"the database took {told} before {earlier} {scene.client(culprit)} had {did} earlier."


def _mark(scene: Scene, *, writes: bool) -> str:
    own = _own(scene, writes=writes)
    if own is None:
        return "older than what came before"
    return f"{scene.client(own)} had {_had_done(own)}{scene.at(own.returned)}"


SESSIONS: Mapping[str, Template] = {
    "non-monotonic-read": Template(
        lambda scene: _older_read(scene, writes=False), lambda scene: _mark(scene, writes=False), lasting=True
    ),
    "non-monotonic-write": Template(
        lambda scene: _late_write(scene, writes=True), lambda scene: _mark(scene, writes=True)
    ),
    "read-your-writes": Template(
        lambda scene: _older_read(scene, writes=True), lambda scene: _mark(scene, writes=True), lasting=True
    ),
    "write-before-read": Template(
        lambda scene: _late_write(scene, writes=False), lambda scene: _mark(scene, writes=False)
    ),
}
