"""Which images containers are made of.

what is asked for                       what is used
an image named by an option, or by      that one: as it is here, else as its registry has it,
CACHEPROOF_CACHE_IMAGE or               else nothing
CACHEPROOF_DATABASE_IMAGE
nothing                                 redis:7 and postgres:16 in the same way, else what
                                        `cacheproof images build` has made, if it was run
"""

import os
from dataclasses import dataclass
from typing import Final

from cacheproof.chaos.servers.engine import Engine
from cacheproof.models.decision import ServerName
from cacheproof.models.errors import EnvironmentFault

__all__ = ["BUILT", "Chosen", "choose_image", "wanted_image"]

BUILT: Final = {ServerName.CACHE: "cacheproof/valkey", ServerName.DATABASE: "cacheproof/postgres"}
"""The repositories of the images that `cacheproof images build` makes; tags are versions."""

_DEFAULT: Final = {ServerName.CACHE: "redis:7", ServerName.DATABASE: "postgres:16"}
_VARIABLE: Final = {
    ServerName.CACHE: "CACHEPROOF_CACHE_IMAGE",
    ServerName.DATABASE: "CACHEPROOF_DATABASE_IMAGE",
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """An image that is here.  `instead_of` is the default one that could not be had, if it stands in for it."""

    name: str
    instead_of: str | None = None

    def __str__(self) -> str:
        if self.instead_of is None:
            return self.name
        return f"{self.name} (instead of {self.instead_of}, which is not here and cannot be pulled)"


def wanted_image(server: ServerName, option: str | None) -> str | None:
    """The image that is asked for, by option or environment; None: the default one."""
    return option or os.environ.get(_VARIABLE[server]) or None


def choose_image(engine: Engine, server: ServerName, wanted: str | None) -> Chosen:
    """The image to make a container of, which is here when this returns.

    Raises EnvironmentFault if it is neither here nor can be pulled, and nothing that was built may stand in.
    """
    name = wanted or _DEFAULT[server]
    if engine.image_environment(name) is not None:
        return Chosen(name)
    try:
        engine.pull(name)
    except EnvironmentFault as fault:
        if wanted is None and (built := engine.image_names(BUILT[server])):
            return Chosen(built[0], instead_of=name)
        todo = "run: cacheproof images build"
        if wanted is not None:
            todo += f", and name no image (neither by an option nor by {_VARIABLE[server]})"
        raise EnvironmentFault(
            f"image {name!r} is missing: {fault}; pull it where its registry answers, or {todo}"
        ) from None
    return Chosen(name)
