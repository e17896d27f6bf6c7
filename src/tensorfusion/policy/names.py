"""Names that are derived, the same way wherever they are needed: label values, workloads, template hashes."""

import hashlib
from functools import lru_cache

_LABEL_LENGTH = 63
_ID_ALPHABET = "123456789abcdefghijkmnopqrstuvwxy"
_ID_LENGTH = 8


def label_value(name: str) -> str:
    """A name as a label value: itself up to 63 characters, else its head and eight hex digits of its hash."""
    if len(name) <= _LABEL_LENGTH:
        return name
    tail = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: _LABEL_LENGTH - 9].rstrip('-._')}-{tail}"


def short_id(seed: str) -> str:
    """Eight characters that are always the same for one seed."""
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")
    letters = []
    for _ in range(_ID_LENGTH):
        number, position = divmod(number, len(_ID_ALPHABET))
        letters.append(_ID_ALPHABET[position])
    return "".join(letters)


def deployment_of(replica_set: str, pod_template_hash: str) -> str:
    """The Deployment that a ReplicaSet belongs to; the ReplicaSet itself where its name says that it has none.

    Source: the Deployment controller names a ReplicaSet ``<deployment>-<pod-template-hash>`` and labels its pods so.
    """
    suffix = f"-{pod_template_hash}"
    if pod_template_hash and replica_set.endswith(suffix) and len(replica_set) > len(suffix):
        return replica_set.removesuffix(suffix)
    return replica_set


@lru_cache(maxsize=4096)
def template_hash(text: str) -> str:
    """FNV-1a, 64 bits, in hex: the hash of what is injected, read by rolling updates."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"
