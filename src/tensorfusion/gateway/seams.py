"""What the front needs of those who know callers and count what they use.

Apart from ``keys`` and ``limits``, which fill these, so that the road can be walked without either: in tests, and on
loopback, where nobody is asked for a key that nobody has.
"""

from collections.abc import Mapping
from typing import Final, Protocol

from tensorfusion.gateway.keys.record import Globs
from tensorfusion.model.llm_key import KeyScope
from tensorfusion.policy.routing.route import Route
from tensorfusion.wire.fields import Fields


class Key(Protocol):
    """Whose a request is, and what it may."""

    @property
    def id(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def user(self) -> str: ...
    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def routes(self) -> Globs: ...
    @property
    def operator(self) -> bool:
        """It is of whoever runs the gateway: its namespace is no border."""
        ...

    def require_scope(self, scope: KeyScope) -> None:
        """Return if it is good for this. Raises KeyRefused."""
        ...

    def require_model(self, model: str) -> None:
        """Return if it may ask the model. Raises KeyRefused."""
        ...

    def require_route(self, route: str) -> None:
        """Return if it may take the route ``namespace/name``. Raises KeyRefused."""
        ...


class Keys(Protocol):
    """Who calls."""

    @property
    def edition(self) -> int:
        """Another number whenever somebody else may call than before."""
        ...

    def again(self, key: Key, edition: int) -> bool:
        """Whether the same fields show the same key as they did at that edition: then they need not be read again."""
        ...

    def find(self, fields: Fields) -> Key:
        """Whose the request with these header fields is.

        Raises:
            KeyRefused: nobody's.
        """
        ...


class Reservation(Protocol):
    """What is held for one request. ``lines`` are fields, as they are sent, that tell the client how much is left."""

    @property
    def lines(self) -> bytes: ...

    def settle(self, tokens: int) -> object:
        """It is over, and used so many. Saying it again changes nothing."""
        ...


class Limits(Protocol):
    """How much may come in."""

    async def reserve(self, key: Key, route: Route, *, tokens: int, guess: int = 0) -> Reservation:
        """Hold room for one request of so many tokens, and of so many more that nobody said but that are usual.

        Raises:
            Fault: there is none.
        """
        ...


class Anyone:
    """Who calls where no key is asked for. Never beyond loopback."""

    id = "anyone"
    namespace = "default"
    user = ""
    labels: Mapping[str, str] = {}
    routes = Globs()
    operator = True

    def require_scope(self, scope: KeyScope) -> None:
        """It is."""

    def require_model(self, model: str) -> None:
        """It may."""

    def require_route(self, route: str) -> None:
        """It may."""


ANYONE: Final = Anyone()


class NoKeys:
    """Everyone is anyone."""

    edition = 0

    def again(self, key: Key, edition: int) -> bool:
        return key is ANYONE

    def find(self, fields: Fields) -> Key:
        return ANYONE


class _Nothing:
    lines = b""

    def settle(self, tokens: int) -> None:
        """Nothing was held."""


_NOTHING: Final = _Nothing()


class NoLimits:
    """As much as comes."""

    async def reserve(self, key: Key, route: Route, *, tokens: int, guess: int = 0) -> Reservation:
        return _NOTHING
