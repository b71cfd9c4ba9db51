"""Where a recorded history cannot be read: the line, the column, what is wrong and what was expected."""

from cacheproof.models.errors import UsageError

__all__ = ["Malformed"]


class Malformed(UsageError):
    """A line of a recorded history is not what it should be; nothing is guessed.

    `line` and `column` count from 1, the column in characters; `what` says what is wrong without the place.
    """

    def __init__(self, line: int, column: int, what: str) -> None:
        super().__init__(f"line {line}, column {column}: {what}")
        self.line = line
        self.column = column
        self.what = what
