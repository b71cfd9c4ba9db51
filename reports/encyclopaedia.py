"""An anomaly as an entry of an encyclopaedia: what happens, who suffers, how to fix it, where it is described."""

from textwrap import fill

from rich.console import Group, RenderableType
from rich.text import Text

from cacheproof.models.anomalies import Anomaly

__all__ = ["render_anomaly"]

_WIDTH = 96


def render_anomaly(entry: Anomaly) -> RenderableType:
    """The entry for a terminal."""
    number = f"   [{entry.number}]" if entry.number is not None else ""
    parts: list[RenderableType] = [Text(f"{entry.title}{number}", style="bold"), Text("")]
    parts += [Text(fill(entry.summary, _WIDTH)), Text("")]
    if entry.steps:
        parts.append(Text("What happens", style="bold"))
        parts += [_item(f"{step:>3}. ", text) for step, text in enumerate(entry.steps, start=1)]
        parts.append(Text(""))
    parts += [Text("Who suffers", style="bold"), *(_item("  · ", text) for text in entry.suffers), Text("")]
    parts.append(Text("How to fix it", style="bold"))
    parts += [_item("  · ", text) for text in entry.fixes]
    parts += [Text(""), Text("Source", style="bold"), _item("  ", entry.source)]
    return Group(*parts)


def _item(label: str, text: str) -> Text:
    return Text(fill(text, _WIDTH, initial_indent=label, subsequent_indent=" " * len(label)))
