"""A key as the gateway knows it: whose it is, what it may, and never the key itself."""

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from tensorfusion.errors import ConfigError, InvalidRequest
from tensorfusion.gateway.keys.errors import ModelNotAllowed, RouteNotAllowed, ScopeMissing
from tensorfusion.model.llm_key import HASH_PATTERN, KeyScope, LLMKeySpec
from tensorfusion.model.llm_route import RateLimit
from tensorfusion.units import to_units

MICRO_USD: Final = 1_000_000
_LONGEST_NAME: Final = 256
_HASH = re.compile(HASH_PATTERN)


class Globs:
    """Names with ``*`` and ``?`` in them; none at all stand for every name. Upper and lower case differ."""

    __slots__ = ("_match", "patterns")

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self.patterns = tuple(patterns)
        whole = "|".join(f"(?:{fnmatch.translate(pattern)})" for pattern in self.patterns)
        self._match = re.compile(whole).match if whole else None

    def __contains__(self, name: str) -> bool:
        if self._match is None:
            return True
        return len(name) <= _LONGEST_NAME and self._match(name) is not None

    def __repr__(self) -> str:
        return f"Globs({', '.join(self.patterns) or '*'})"


@dataclass(frozen=True, slots=True)
class Budget:
    """Micro-USD at most, of a UTC day and month; None is no ceiling. Kept for who enforces it."""

    daily: int | None = None
    monthly: int | None = None


@dataclass(frozen=True, slots=True)
class Digest:
    """SHA-256 of one key, and until when it is good beside the present one; None is as long as the record."""

    sha256: bytes = field(repr=False)
    until: datetime | None = None


@dataclass(frozen=True, slots=True, eq=False)
class KeyRecord:
    """One key. Compared by identity: a record that changes is another one."""

    id: str
    """``namespace/name``: the key's name in logs, bills and limits."""
    name: str
    namespace: str
    digests: tuple[Digest, ...]
    """The present one first, then those that it replaced."""
    prefix: str = ""
    user: str = ""
    scopes: frozenset[KeyScope] = frozenset((KeyScope.INFER,))
    models: Globs = field(default_factory=Globs)
    routes: Globs = field(default_factory=Globs)
    rate_limit: RateLimit | None = None
    budget: Budget = field(default_factory=Budget)
    expires_at: datetime | None = None
    disabled: bool = False
    created_at: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    operator: bool = False
    """Its scope ``admin`` is for all namespaces. Only keys in files and in the gateway's own namespace can have that:
    whoever makes keys in another namespace of a cluster says what scopes they have, and must not get beyond it."""

    @property
    def ends(self) -> bool:
        """It, or a secret that was replaced, is good up to some time only."""
        return self.expires_at is not None or len(self.digests) > 1

    def require_scope(self, scope: KeyScope) -> None:
        """Return if the key is good for this.

        Raises:
            ScopeMissing: it is not.
        """
        if scope not in self.scopes:
            found = ", ".join(sorted(self.scopes)) or "none"
            raise ScopeMissing(f"key {self.id}: wanted scope {scope}, found {found}: use a key that has it")

    def require_model(self, model: str) -> None:
        """Return if the key may ask the model, by the name that the caller uses.

        Raises:
            ModelNotAllowed: it may not.
        """
        if model not in self.models:
            allowed = ", ".join(self.models.patterns)
            raise ModelNotAllowed(f"key {self.id}: may not ask model {model[:_LONGEST_NAME]!r}: it may ask {allowed}")

    def require_route(self, route: str) -> None:
        """Return if the key may take the route ``namespace/name``.

        Raises:
            RouteNotAllowed: it may not.
        """
        if route not in self.routes:
            allowed = ", ".join(self.routes.patterns)
            raise RouteNotAllowed(f"key {self.id}: may not take route {route[:_LONGEST_NAME]!r}: it may take {allowed}")


def record_of(
    spec: LLMKeySpec,
    *,
    name: str,
    namespace: str,
    at: str,
    digest: bytes | None = None,
    created_at: datetime | None = None,
    operator: bool = False,
) -> KeyRecord:
    """The record of a key as it is written; ``digest`` where the spec's own hash does not say it. ``operator``: it is
    written in a file of whoever runs the gateway.

    ``at`` is how messages name the place. No value of a hash is ever in a message: people put keys there by mistake.

    Raises:
        ConfigError: a hash, a time or an amount that is none.
    """
    present = Digest(digest if digest is not None else parse_hash(spec.hash, f"{at}.hash"))
    earlier = tuple(
        Digest(
            parse_hash(one.hash, f"{at}.previous[{place}].hash"),
            parse_time(one.until, f"{at}.previous[{place}].until"),
        )
        for place, one in enumerate(spec.previous)
    )
    money = spec.budget
    return KeyRecord(
        id=f"{namespace}/{name}",
        name=name,
        namespace=namespace,
        digests=(present, *earlier),
        prefix=spec.prefix,
        user=spec.user or name,
        scopes=frozenset(spec.scopes),
        models=Globs(spec.models),
        routes=Globs(route if "/" in route else f"{namespace}/{route}" for route in spec.routes),
        rate_limit=spec.rate_limit,
        budget=Budget(
            parse_money(money.daily, f"{at}.budget.daily") if money else None,
            parse_money(money.monthly, f"{at}.budget.monthly") if money else None,
        ),
        expires_at=parse_time(spec.expires_at, f"{at}.expiresAt") if spec.expires_at else None,
        disabled=spec.disabled,
        created_at=created_at,
        metadata=spec.metadata,
        labels=spec.labels,
        operator=operator and KeyScope.ADMIN in spec.scopes,
    )


def parse_hash(text: str, at: str) -> bytes:
    """The 32 bytes of a hash in hexadecimal digits.

    Raises:
        ConfigError: it is none.
    """
    if not _HASH.fullmatch(text):
        raise ConfigError(
            f"{at}: wanted the SHA-256 of a key, 64 digits of 0-9 and a-f, found {len(text)} characters: "
            "`tensorfusion gateway keys create` makes a key with its hash"
        )
    return bytes.fromhex(text)


def parse_time(text: str, at: str) -> datetime:
    """A moment as RFC 3339 writes it.

    Raises:
        ConfigError: it is none, or says no time zone.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{at}: wanted a time such as 2027-01-31T00:00:00Z, found {text[:64]!r}") from error
    if found.tzinfo is None:
        raise ConfigError(f"{at}: wanted a time with its zone, such as {text[:64]}Z, found {text[:64]!r}")
    return found.astimezone(UTC)


def parse_money(text: str, at: str) -> int | None:
    """Dollars to micro-USD; None where nothing is written.

    Raises:
        ConfigError: it is no amount.
    """
    if not text:
        return None
    try:
        return to_units(text.removeprefix("$"), MICRO_USD)
    except InvalidRequest as error:
        raise ConfigError(f'{at}: wanted dollars such as "12.50", found {text[:64]!r}') from error
