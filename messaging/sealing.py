"""AES-256-GCM, for those who asked for encryption. `cryptography`'s ciphers are loaded only when one is first used.

Nonces are never used twice under one key, because every key that encrypts is used by one sender for one thing only:

| what | key derived from the ring's key and | nonce |
|---|---|---|
| datagrams and serial frames | cluster, sender, incarnation, link | the sequence on that link |
| records of a stream | both ends' fresh random numbers, the direction | the record's place |
| a new key on its way | a secret that both ends have just agreed on (X25519) | 96 random bits |

An incarnation is written to disk before anything is sent in it and is never used again; when the disk has lost it, the
next one starts from the clock in milliseconds. So a restart gives other keys. What the rule cannot cover is a machine
that is put back to a *running* snapshot: it would send other contents with numbers that were used. Do not revert
running cluster nodes; the other members refuse what such a node sends until it has passed the numbers they have seen.
"""

from __future__ import annotations

from collections.abc import Callable

TAG_BYTES = 16
NONCE_BYTES = 12


SECRET_BYTES = 32


def public_of(secret: bytes) -> bytes:
    """What may be told of a random secret, so that the other end can agree on one with us (X25519, RFC 7748)."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def agree(secret: bytes, public: bytes) -> bytes:
    """The secret that both ends come to, and nobody who only listens. ValueError when the other's word is none."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

    return X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(public))


class Sealer:
    """One derived key. `number` is the nonce and must not come twice for `seal`."""

    __slots__ = ("_open", "_seal")

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        cipher = AESGCM(key)
        self._seal: Callable[[bytes, bytes, bytes], bytes] = cipher.encrypt
        self._open: Callable[[bytes, bytes, bytes], bytes] = cipher.decrypt

    def seal(self, number: int, plain: bytes, beside: bytes) -> bytes:
        """The ciphertext with its tag; `beside` is authenticated with it."""
        return self._seal(number.to_bytes(NONCE_BYTES, "big"), plain, beside)

    def open(self, number: int, sealed: bytes, beside: bytes) -> bytes | None:
        """The plaintext; None when anything of it is not what was sealed."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._open(number.to_bytes(NONCE_BYTES, "big"), sealed, beside)
        except (InvalidTag, ValueError):  # ValueError: shorter than a tag
            return None
