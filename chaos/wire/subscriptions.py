"""Which replies on a connection that listens answer a command, and which are messages.

A subscribing command has one answer for every channel; in RESP3 they come as pushes.  With RESP2, messages
come as ordinary arrays between them.  So whoever pairs replies with commands has to know what the connection
has subscribed to.  (https://redis.io/docs/latest/develop/pubsub/)

    SUBSCRIBE a b       ["subscribe", "a", 1] ["subscribe", "b", 2]
    UNSUBSCRIBE         one for each channel subscribed to, or ["unsubscribe", null, 0] if there is none
"""

from collections.abc import Mapping

from cacheproof.chaos.wire.respcommands import Command
from cacheproof.chaos.wire.respreplies import Reply

__all__ = ["SUBSCRIBING_VERBS", "Subscriptions"]

# Verb → which set of names it is about, and whether it adds to it.
_VERBS: Mapping[str, tuple[str, bool]] = {
    "PSUBSCRIBE": ("patterns", True),
    "PUNSUBSCRIBE": ("patterns", False),
    "SSUBSCRIBE": ("shards", True),
    "SUBSCRIBE": ("channels", True),
    "SUNSUBSCRIBE": ("shards", False),
    "UNSUBSCRIBE": ("channels", False),
}
SUBSCRIBING_VERBS = frozenset(_VERBS)

_CONFIRMATIONS: Mapping[bytes, tuple[str, bool]] = {
    name.lower().encode(): meaning for name, meaning in _VERBS.items()
}
_MESSAGES = ((b"message",), (b"pmessage",), (b"smessage",))


class Subscriptions:
    """What one connection has subscribed to, as far as the server has confirmed it."""

    __slots__ = ("_names",)

    def __init__(self) -> None:
        self._names: dict[str, set[bytes]] = {"channels": set(), "patterns": set(), "shards": set()}

    def answers(self, command: Command) -> int:
        """How many confirmations the server will give; 0 if the command is none of `SUBSCRIBING_VERBS`."""
        meaning = _VERBS.get(command.name)
        if meaning is None:
            return 0
        return len(command.args) - 1 or max(1, len(self._names[meaning[0]]))

    def confirm(self, reply: Reply) -> bool:
        """Take a reply if it is a confirmation.  False if it is something else."""
        value = reply.value
        if not (isinstance(value, tuple) and len(value) == 3 and isinstance(value[0], bytes)):
            return False
        meaning = _CONFIRMATIONS.get(value[0])
        if meaning is None:
            return False
        kind, adds = meaning
        if isinstance(value[1], bytes):
            (self._names[kind].add if adds else self._names[kind].discard)(value[1])
        return True

    def is_message(self, reply: Reply) -> bool:
        """True for what nobody asked for.  In RESP2 only a connection that subscribes gets such."""
        if reply.is_push:
            return True
        value = reply.value
        return isinstance(value, tuple) and value[0:1] in _MESSAGES and any(self._names.values())
