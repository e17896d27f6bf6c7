"""What a target is on the wire: where its replicas are, how a path and a credential are written for its provider.

Made anew with every change of routes; replicas, and with them open connections and what is in flight, stay as long as
their address does. A target that cannot be reached as it is written (no address, no credential) is kept with the reason
why: its route says so, and never asks it.

Source: OpenAI, Azure OpenAI ("/openai/deployments/{deployment-id}", ``api-key``) and Anthropic (``x-api-key``,
``anthropic-version``) API references.
"""

import itertools
import math
import random
import ssl
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urlsplit

import msgspec

from tensorfusion.gateway.apis import Call
from tensorfusion.gateway.secrets import Secrets, spelled
from tensorfusion.policy.routing.breaker import Breaker
from tensorfusion.policy.routing.replicas import pick
from tensorfusion.policy.routing.route import Route, Target
from tensorfusion.wire.fields import Fields, field_lines
from tensorfusion.wire.messages import origin_of
from tensorfusion.wire.pool import Pool

AZURE_VERSION: Final = "2024-10-21"
ANTHROPIC_VERSION: Final = b"2023-06-01"
_KNOWN_ENDPOINTS: Final = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com/v1",
}
_MOST_WAITING: Final = 4096
_VERSION: Final = b"anthropic-version"
_SHORTEST_SECRET: Final = 6
"""Bytes: what is shorter protects nothing, and is a part of words."""
TOLD_SECONDS: Final = 3.0
"""What a replica says of itself counts for so long."""
_encoder: Final = msgspec.json.Encoder()

Addresses = Callable[[Route, Target], Sequence[str]]
"""URLs of the replicas of a route's target. None at all: its ``endpoint`` says where it is.

Raises ValueError: there is no replica, and why.
"""


def _secret_of(credential: Fields) -> bytes:
    found = credential[0][1].removeprefix(b"Bearer ") if credential and credential[0][0] != _VERSION else b""
    return found if len(found) >= _SHORTEST_SECRET else b""


def _turns() -> Iterator[int]:
    """From anywhere on: workers that know the same must not all begin with the same replica."""
    return itertools.count(random.getrandbits(16))


@dataclass(slots=True, eq=False)
class Replica:
    """One address, and what this process has under way there."""

    url: str
    pool: Pool
    tokens: int = 0
    """Estimated, of the requests in flight."""
    requests: int = 0
    """In flight."""
    breaker: Breaker = field(default_factory=Breaker)
    """Of this address, where its target has others."""
    used_at: float = -math.inf
    """When a request was last sent there, where its target has others."""
    others: int = 0
    """Requests there that are not ours, as it said ``told_at``."""
    full: float = 0.0
    """The part of its cache in use, as it said then."""
    told_at: float = -math.inf
    silent_until: float = -math.inf
    """It has nothing to tell before."""
    beside: Pool | None = None
    """For what it tells, where that is not below the path of its API."""

    def tell(self, others: int, full: float, now: float) -> None:
        """It has said how much it has to do."""
        self.others, self.full, self.told_at = others, full, now


@dataclass(frozen=True, slots=True, eq=False)
class Upstream:
    """One target of one route."""

    target: Target
    replicas: tuple[Replica, ...]
    credential: Fields
    parameters: Mapping[str, bytes]
    overriding: Mapping[str, bytes]
    bare: bool
    """The endpoint has no path of its own."""
    lines: bytes = b""
    """Its credential as fields are sent."""
    secret: bytes = b""
    """What is secret of the credential; empty where nothing is."""
    unreachable: str = ""
    """Why it has no address; empty when it has."""
    unauthorized: str = ""
    """Why it has no credential where it wants one; empty when it has."""
    paths: dict[str, bytes] = field(default_factory=dict)
    """``path_of`` the calls of the APIs that came by."""
    turns: Iterator[int] = field(default_factory=_turns)
    """Where equal replicas begin, for each pick."""

    @property
    def problem(self) -> str:
        """Why it cannot be asked; empty when it can."""
        return self.unreachable or self.unauthorized

    @property
    def anthropic(self) -> bool:
        """It speaks Anthropic's API."""
        return self.target.provider == "anthropic"

    def path_of(self, call: Call) -> bytes:
        """The target of a request for the call, behind the path of the endpoint."""
        if not call.api or "?" in call.path:  # whatever a client thinks of
            return self._path_of(call)
        found = self.paths.get(call.path)
        if found is None:
            found = self.paths[call.path] = self._path_of(call)
        return found

    def _path_of(self, call: Call) -> bytes:
        if self.target.provider == "azure" and self.bare:
            path, _, query = call.path.partition("?")
            query = (
                query if "api-version=" in query else "&".join(filter(None, (query, f"api-version={AZURE_VERSION}")))
            )
            return f"/openai/deployments/{quote(self.target.model, safe='')}/{path}?{query}".encode()
        return (f"/v1/{call.path}" if self.bare else f"/{call.path}").encode("latin-1")

    def pick(self, now: float, but: Collection[Replica] = (), *, prompt: int = 0) -> Replica:
        """The replica with the least to do (``policy.routing.replicas``), for a ``prompt`` of so many tokens. Those in
        ``but``, and those that keep failing, only where there is no other. There is at least one where there is no
        ``problem``."""
        replicas = self.replicas
        if len(replicas) == 1:
            return replicas[0]
        left = well = 0
        for index, one in enumerate(replicas):
            if one not in but:
                left |= 1 << index
                if one.breaker.closed or one.breaker.allows(now):
                    well |= 1 << index
        told = [now - one.told_at <= TOLD_SECONDS for one in replicas]
        best = pick(
            [one.tokens for one in replicas],
            [one.requests for one in replicas],
            others=[one.others if fresh else 0 for one, fresh in zip(replicas, told, strict=True)],
            full=[one.full if fresh else 0.0 for one, fresh in zip(replicas, told, strict=True)],
            allowed=well or left or (1 << len(replicas)) - 1,
            prompt=prompt,
            turn=next(self.turns),
        )
        found = replicas[best or 0]
        found.used_at = now
        if not found.breaker.closed:
            found.breaker.began(now)
        return found


class Upstreams:
    """Those of all routes. ``adopt`` takes over the replicas of the one before."""

    def __init__(
        self, routes: Iterable[Route], secrets: Secrets, *, addresses: Addresses, adopt: "Upstreams | None" = None
    ) -> None:
        self._tls: ssl.SSLContext | None = adopt._tls if adopt is not None else None
        self._known = adopt._replicas if adopt is not None else {}
        self._replicas: dict[str, Replica] = {}
        self._secrets = secrets
        self._addresses = addresses
        self._of = {
            (route.key, target.index): self._make(route, target) for route in routes for target in route.targets
        }
        self._unusable: dict[str, int] = {}
        self._known = {}

    def of(self, route: Route, target: Target) -> Upstream:
        return self._of[route.key, target.index]

    def unusable(self, route: Route) -> int:
        """The mask of the route's targets that have a problem."""
        key = route.key
        found = self._unusable.get(key)
        if found is None:
            found = sum(target.bit for target in route.targets if self._of[key, target.index].problem)
            self._unusable[key] = found
        return found

    @property
    def secrets(self) -> Secrets:
        return self._secrets

    @property
    def replicas(self) -> Iterable[Replica]:
        return self._replicas.values()

    async def close(self) -> None:
        """End all connections."""
        for replica in self._replicas.values():
            await replica.pool.close()
            if replica.beside is not None:
                await replica.beside.close()

    def _make(self, route: Route, target: Target) -> Upstream:
        unreachable = unauthorized = ""
        bare = False
        replicas: tuple[Replica, ...] = ()
        credential: Fields = ()
        lines = b""
        try:
            urls = self._urls(route, target)
            replicas = tuple(self._replica(url.rstrip("/")) for url in urls)
            bare = not urlsplit(urls[0]).path.strip("/")
        except ValueError as error:
            unreachable = str(error)
        try:
            credential = self._credential(target)
            lines = field_lines(credential)
        except ValueError as error:
            unauthorized = str(error)
        return Upstream(
            target=target,
            replicas=replicas,
            credential=credential,
            parameters={name: _encoder.encode(value) for name, value in target.parameters.items()},
            overriding={name: _encoder.encode(value) for name, value in target.extra_parameters.items()},
            bare=bare,
            lines=lines,
            secret=_secret_of(credential),
            unreachable=unreachable,
            unauthorized=unauthorized,
        )

    def _urls(self, route: Route, target: Target) -> Sequence[str]:
        """Raises ValueError: there is none."""
        found = self._addresses(route, target)
        if found:
            return found
        if target.endpoint:
            return (target.endpoint,)
        if target.pool or target.azure_source:
            what = f"GPUPool {target.pool}" if target.pool else f"AzureGPUSource {target.azure_source}"
            instead = "name its URLs under pools in the settings" if target.pool else "set endpoint"
            raise ValueError(f"{what} is looked up on Kubernetes only: {instead}")
        if target.provider in _KNOWN_ENDPOINTS:
            return (_KNOWN_ENDPOINTS[target.provider],)
        raise ValueError(f"no address: set endpoint, gpuPool or azureGPUSource (provider {target.provider!r} has none)")

    def _replica(self, url: str) -> Replica:
        """Raises ValueError: the URL is none."""
        found = self._replicas.get(url) or self._known.get(url)
        if found is None:
            if url.startswith("https:") and self._tls is None:
                self._tls = ssl.create_default_context()
            found = Replica(url, Pool(origin_of(url, tls=self._tls), most_waiting=_MOST_WAITING))
        self._replicas[url] = found
        return found

    def _credential(self, target: Target) -> Fields:
        """Raises ValueError: there is none."""
        value = target.credential
        if target.secret is not None:
            found = self._secrets.get(target.secret)
            if found is None:
                raise ValueError(f"{spelled(target.secret)} does not exist")
            value = found.strip()
            if not value or not value.isascii() or not value.isprintable():
                raise ValueError(f"{spelled(target.secret)} holds no credential that could be sent")
        raw = value.encode()
        if target.provider == "anthropic":
            version = ((_VERSION, ANTHROPIC_VERSION),)
            return ((b"x-api-key", raw), *version) if raw else version
        if not raw:
            return ()
        if target.provider == "azure":
            return ((b"api-key", raw),)
        return ((b"Authorization", b"Bearer " + raw),)
