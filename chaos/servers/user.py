"""The user that embedded servers run as: ourselves, except as root, which PostgreSQL refuses.

PostgreSQL also refuses a user without a name, which containers with arbitrary user ids have.
"""

import os
import pwd

from cacheproof.models.errors import EnvironmentFault

__all__ = ["server_user"]

_NOBODY = 65534


def server_user() -> int | None:
    """The id of the user, and of the group, to change to; None if servers run as ourselves.

    Raises EnvironmentFault if PostgreSQL would run as no user that has a name.
    """
    me = os.geteuid()
    if me != 0:
        if not _has_name(me):
            raise EnvironmentFault(
                f"user {me} has no name, and PostgreSQL does not run without; "
                "add a line for it to /etc/passwd, or run as another user"
            )
        return None
    if _has_name(_NOBODY):
        return _NOBODY
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError:
        raise EnvironmentFault(
            "PostgreSQL does not run as root, and there is no user 'nobody' to run it as; "
            "add one to /etc/passwd, or run as an ordinary user"
        ) from None


def _has_name(user: int) -> bool:
    try:
        pwd.getpwuid(user)
    except KeyError:
        return False
    return True
