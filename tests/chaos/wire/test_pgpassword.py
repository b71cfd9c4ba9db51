"""Passwords: the published examples, and servers that are not who they say."""

import hashlib

import pytest

from cacheproof.chaos.wire.framing import FramingError
from cacheproof.chaos.wire.pgpassword import Scram, md5_answer

NONCE = "rOprNGfwEbeRWgbNEkqO"
CHALLENGE = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_the_example_of_rfc_7677() -> None:
    """Section 3, message by message."""
    scram = Scram("pencil", NONCE, "user")
    assert scram.first() == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    assert scram.final(CHALLENGE) == (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert scram.proves(FINAL)


@pytest.mark.parametrize("said", [b"v=AAAA", b"e=other-error", b"", b"v=\xff"])
def test_a_server_that_does_not_know_the_password(said: bytes) -> None:
    """It proves nothing."""
    scram = Scram("pencil", NONCE, "user")
    scram.final(CHALLENGE)
    assert not scram.proves(said)


def test_nothing_is_proven_before_anything_was_asked() -> None:
    """A signature of nothing is no signature."""
    assert not Scram("pencil", NONCE).proves(b"v=")


@pytest.mark.parametrize(
    "challenge",
    [
        CHALLENGE.replace(b"r=r", b"r=x"),
        CHALLENGE.replace(b"i=4096", b"i=0"),
        CHALLENGE.replace(b"i=4096", b"i=many"),
        CHALLENGE.replace(b"s=W22", b"s=!!!"),
        b"e=unknown-user",
        b"\xff",
    ],
)
def test_a_challenge_that_is_none(challenge: bytes) -> None:
    """It is not answered."""
    with pytest.raises(FramingError, match="challenge"):
        Scram("pencil", NONCE).final(challenge)


def test_md5_is_the_hash_of_a_hash() -> None:
    """md5(md5(password + user) + salt), as the documentation writes it."""
    inner = hashlib.md5(b"pencil" + b"user").hexdigest()
    assert (
        md5_answer("user", "pencil", b"salt")
        == b"md5" + hashlib.md5(inner.encode() + b"salt").hexdigest().encode()
    )
