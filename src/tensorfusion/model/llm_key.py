"""LLMKey: who may call the AI gateway, from which namespace, for which models and routes, and how much.

The object never holds the key itself, only its SHA-256: whoever reads the object cannot call with it. A key has 256
random bits, so nothing slower than one hash is needed to keep it from being guessed.

Source: the platform's contract, 3.2. Ours: ``labels``, and ``previous``, by which a key is rotated.
"""

from enum import StrEnum
from typing import Annotated

import msgspec

from tensorfusion.model.llm_route import RateLimit
from tensorfusion.model.meta import Object
from tensorfusion.model.rules import Cel, Column, Money, Part, Rules, Time

HASH_PATTERN = "^[0-9a-f]{64}$"
MOST_PREVIOUS = 4

KeyHash = Annotated[str, Rules(pattern=HASH_PATTERN)]
KeyPrefix = Annotated[str, Rules(max_length=8)]
Glob = Annotated[str, Rules(min_length=1, max_length=256)]
Word = Annotated[str, Rules(max_length=256)]


class KeyScope(StrEnum):
    """What a key is good for: asking models, changing keys, reading logs and usage."""

    INFER = "infer"
    ADMIN = "admin"
    LOGS = "logs"


class KeyBudget(Part, frozen=True):
    """What requests with the key may cost. Days and months are UTC."""

    daily: Annotated[Money, Rules("Dollars a day at most.")] = ""
    monthly: Annotated[Money, Rules("Dollars a month at most.")] = ""


class PreviousHash(Part, frozen=True):
    """A key that was replaced and is still good for a while."""

    hash: Annotated[KeyHash, Rules("SHA-256 of it, in 64 hexadecimal digits.", required=True)] = ""
    until: Annotated[Time, Rules("When it ends.", required=True)] = ""
    prefix: Annotated[KeyPrefix, Rules("Its first characters.")] = ""


class LLMKeySpec(Part, frozen=True):
    """What the key is, and what it is good for."""

    cel = (
        Cel(
            "!has(self.previous) || !self.previous.exists(p, p.hash == self.hash)",
            "previous may not name the key's present hash",
        ),
    )

    hash: Annotated[KeyHash, Rules("SHA-256 of the key, in 64 hexadecimal digits; never the key.", required=True)] = ""
    prefix: Annotated[KeyPrefix, Rules("Its first characters, for people to tell keys apart.")] = ""
    user: Annotated[Word, Rules("Whose it is; the name of the key where unset.")] = ""
    scopes: Annotated[tuple[KeyScope, ...], Rules("What it is good for.", max_items=3)] = (KeyScope.INFER,)
    models: Annotated[
        tuple[Glob, ...], Rules("Models it may ask, with * and ? in them; unset is all.", max_items=256)
    ] = ()
    routes: Annotated[
        tuple[Glob, ...],
        Rules(
            "Routes it may take, by name or as namespace/name, with * and ? in them; unset is all that take it.",
            max_items=256,
        ),
    ] = ()
    rate_limit: Annotated[RateLimit | None, Rules("How much it may ask; unset is as much as its routes take.")] = (
        msgspec.field(default=None, name="rateLimit")
    )
    budget: Annotated[KeyBudget | None, Rules("What it may cost; kept, and not enforced yet.")] = None
    expires_at: Annotated[Time | None, Rules("When it ends; unset is never.")] = msgspec.field(
        default=None, name="expiresAt"
    )
    disabled: Annotated[bool, Rules("Refused as if it did not exist.")] = False
    metadata: Annotated[dict[str, Word], Rules("Words for people and bills.", max_properties=64)] = msgspec.field(
        default_factory=dict
    )
    labels: Annotated[
        dict[str, Word], Rules("Labels of the caller, for routes that select by them.", max_properties=64)
    ] = msgspec.field(default_factory=dict)
    previous: Annotated[
        tuple[PreviousHash, ...],
        Rules("Keys that it replaces and that are still good.", map_key="hash", max_items=MOST_PREVIOUS),
    ] = ()


class LLMKeyStatus(Part, frozen=True):
    """What became of the key."""

    last_used_at: Annotated[Time | None, Rules("When it was used, to a minute or so.")] = msgspec.field(
        default=None, name="lastUsedAt"
    )


class LLMKey(Object, frozen=True):
    """Who may call the AI gateway, for what, and how much."""

    spec: Annotated[LLMKeySpec, Rules("What the key is, and what it is good for.", required=True)] = msgspec.field(
        default_factory=LLMKeySpec
    )
    status: Annotated[LLMKeyStatus, Rules("What became of the key.")] = msgspec.field(default_factory=LLMKeyStatus)


COLUMNS = (
    Column("Prefix", ".spec.prefix"),
    Column("User", ".spec.user"),
    Column("Scopes", ".spec.scopes"),
    Column("Disabled", ".spec.disabled", "boolean"),
    Column("Expires", ".spec.expiresAt", "date"),
    Column("Last Used", ".status.lastUsedAt", "date"),
    Column("Age", ".metadata.creationTimestamp", "date"),
)
