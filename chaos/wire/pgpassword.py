"""What a client answers when PostgreSQL asks for a password: in clear, hashed with MD5, or by SCRAM-SHA-256.

    server: AuthenticationSASL (mechanisms)      ──►  first    n,,n=,r=<nonce>
    server: AuthenticationSASLContinue r, s, i   ──►  final    c=biws,r=<both nonces>,p=<proof>
    server: AuthenticationSASLFinal v=<signature>     the server has shown that it knows the password as well

Source: PostgreSQL documentation, "SASL Authentication" and "Password Authentication"; RFC 5802, RFC 7677.
Channel binding needs TLS, which the wire does not speak.
"""

import hmac
import unicodedata
from base64 import b64decode, b64encode
from hashlib import md5, pbkdf2_hmac, sha256
from typing import Final

from cacheproof.chaos.wire.framing import FramingError

__all__ = ["SCRAM", "Scram", "md5_answer"]

SCRAM: Final = b"SCRAM-SHA-256"
_HEADER: Final = "n,,"  # no channel binding, and no other identity than that of the start-up packet


def md5_answer(user: str, password: str, salt: bytes) -> bytes:
    """The answer to AuthenticationMD5Password."""
    inner = md5(password.encode() + user.encode(), usedforsecurity=False).hexdigest()
    return b"md5" + md5(inner.encode() + salt, usedforsecurity=False).hexdigest().encode()


class Scram:
    """One conversation.  `nonce` is printable ASCII without a comma, and never used twice.

    PostgreSQL takes the user from the start-up packet and ignores a name given here.
    """

    def __init__(self, password: str, nonce: str, user: str = "") -> None:
        # SASLprep, of which NFKC is all that matters to a password of letters, digits and signs.
        self._password = unicodedata.normalize("NFKC", password).encode()
        self._nonce = nonce
        self._bare = f"n={user},r={nonce}"
        self._signature = b""

    def first(self) -> bytes:
        """client-first-message."""
        return f"{_HEADER}{self._bare}".encode()

    def final(self, challenge: bytes) -> bytes:
        """client-final-message, given server-first-message.  Raises FramingError if that is none."""
        said = _attributes(challenge)
        try:
            nonce, salt, rounds = said["r"], b64decode(said["s"], validate=True), int(said["i"])
        except (KeyError, ValueError) as error:
            raise FramingError(f"not a SCRAM challenge: {challenge[:100]!r} ({error!r})") from None
        if not nonce.startswith(self._nonce) or rounds < 1:
            raise FramingError(f"a SCRAM challenge that answers somebody else: {challenge[:100]!r}")
        without_proof = f"c={b64encode(_HEADER.encode()).decode()},r={nonce}"
        spoken = b",".join((self._bare.encode(), challenge, without_proof.encode()))
        salted = pbkdf2_hmac("sha256", self._password, salt, rounds)
        client_key = _hmac(salted, b"Client Key")
        mask = _hmac(sha256(client_key).digest(), spoken)
        proof = bytes(one ^ other for one, other in zip(client_key, mask, strict=True))
        self._signature = _hmac(_hmac(salted, b"Server Key"), spoken)
        return f"{without_proof},p={b64encode(proof).decode()}".encode()

    def proves(self, outcome: bytes) -> bool:
        """Whether server-final-message shows that the server knows the password."""
        said = _attributes(outcome).get("v", "").encode()
        return bool(self._signature) and hmac.compare_digest(said, b64encode(self._signature))


def _attributes(message: bytes) -> dict[str, str]:
    parts = (part.partition("=") for part in message.decode("ascii", "replace").split(","))
    return {name: value for name, _, value in parts}


def _hmac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")
