"""Everything that objects say, as it is now: compiled routes, credentials, addresses, and what is wrong with which.

A route is compiled once for as long as its spec stays: the gateway's own writes of its status change nothing here.
"""

import base64
import binascii
import contextlib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tensorfusion.gateway.objects import followed as refer
from tensorfusion.gateway.objects.followed import Followed, Reference
from tensorfusion.gateway.objects.kinds import Secret
from tensorfusion.gateway.objects.services import (
    endpoint_of_source,
    replicas_of_endpoint,
    replicas_of_pool,
    service_named,
)
from tensorfusion.gateway.secrets import Reference as SecretKey
from tensorfusion.gateway.secrets import Secrets
from tensorfusion.model.azure_source import AzureGPUSource
from tensorfusion.model.llm_route import LLMRoute
from tensorfusion.policy.routing.compiler import InvalidRoute, compile_route
from tensorfusion.policy.routing.route import Route, Target
from tensorfusion.policy.routing.routes import Routes
from tensorfusion.policy.routing.selector import Candidate, candidate_of


@dataclass(frozen=True, slots=True)
class Compiled:
    """A route as it was written, and what became of it."""

    written: LLMRoute
    found: Candidate | InvalidRoute

    def holds_for(self, route: LLMRoute) -> bool:
        """It would become the same of this one."""
        meta, known = route.metadata, self.written.metadata
        return (
            route.spec == self.written.spec
            and meta.uid == known.uid
            and meta.creation_timestamp == known.creation_timestamp
        )


class Snapshots:
    """Makes compiled routes of objects, and addresses and credentials of what is followed."""

    def __init__(self, followed: Followed) -> None:
        self._followed = followed
        self.compiled: Mapping[str, Compiled] = {}
        """What ``routes`` last made, by ``namespace/name``."""

    def routes(self, written: Iterable[LLMRoute]) -> Routes:
        """Those that can be used; the others are in ``problems``. A route that stays the same is the same object."""
        fresh: dict[str, Compiled] = {}
        candidates: list[Candidate] = []
        problems: list[InvalidRoute] = []
        revision = hashlib.blake2b(digest_size=6)
        for route in sorted(written, key=lambda one: one.key):
            if route.metadata.deleting:
                continue
            key = str(route.key)
            compiled = self.compiled.get(key)
            if compiled is None or not compiled.holds_for(route):
                compiled = Compiled(route, _compile(route))
            fresh[key] = compiled
            if isinstance(compiled.found, InvalidRoute):
                problems.append(compiled.found)
            else:
                candidates.append(compiled.found)
            revision.update(f"{key} {route.metadata.uid} {route.metadata.generation}\n".encode())
        self.compiled = fresh
        return Routes(candidates, problems, revision.hexdigest())

    def references(self, routes: Routes) -> set[Reference]:
        """What routes refer to, as far as it is known yet: a Service of a pool leads to further ones."""
        found: set[Reference] = set()
        for route in routes.by_key.values():
            for target in route.targets:
                found.update(self._references(route, target))
        return found

    def secrets(self, routes: Routes) -> Secrets:
        """The credentials that routes refer to."""
        values: dict[SecretKey, str] = {}
        for route in routes.by_key.values():
            for target in route.targets:
                wanted = target.secret
                if wanted is None:
                    continue
                for found in self._followed.objects(refer.secret(wanted.namespace, wanted.name)):
                    value = _value(found, wanted.key)
                    if value is not None:
                        values[wanted.namespace, wanted.name, wanted.key] = value
        return Secrets(values)

    def addresses(self, route: Route, target: Target) -> Sequence[str]:
        """As ``upstreams.Addresses``. Raises ValueError."""
        followed, namespace = self._followed, route.namespace
        endpoint = self._endpoint(target)
        if endpoint:
            named = service_named(endpoint, namespace)
            found = followed.objects(refer.service(*named)) if named is not None else ()
            if named is None or not found:
                return (endpoint,)
            behind = followed.objects(refer.slices_of(*named))
            return replicas_of_endpoint(endpoint, found[0], behind) or (endpoint,)
        if target.pool:
            services = followed.objects(refer.services_of_pool(namespace, target.pool))
            served = ((one, followed.objects(refer.slices_of(namespace, one.metadata.name))) for one in services)
            return replicas_of_pool(target.pool, target.model, namespace, served)
        return ()

    def _endpoint(self, target: Target) -> str:
        """The target's own, or what its Azure source stands for; empty for none. Raises ValueError."""
        if target.endpoint or target.pool or not target.azure_source:
            return target.endpoint
        reference = refer.azure_source(target.azure_source)
        found: Sequence[AzureGPUSource] = self._followed.objects(reference)
        if not found:
            read = self._followed.read(reference)
            raise ValueError(
                f"AzureGPUSource {target.azure_source} {'does not exist' if read else 'cannot be read yet'}"
            )
        return endpoint_of_source(found[0])

    def _references(self, route: Route, target: Target) -> Iterable[Reference]:
        if target.secret is not None:
            yield refer.secret(target.secret.namespace, target.secret.name)
        endpoint = target.endpoint
        if target.azure_source and not endpoint and not target.pool:
            yield refer.azure_source(target.azure_source)
            with contextlib.suppress(ValueError):
                endpoint = self._endpoint(target)
        if endpoint:
            named = service_named(endpoint, route.namespace)
            if named is not None:
                yield refer.service(*named)
                yield refer.slices_of(*named)
        elif target.pool:
            services = refer.services_of_pool(route.namespace, target.pool)
            yield services
            for one in self._followed.objects(services):
                yield refer.slices_of(route.namespace, one.metadata.name)


def _compile(route: LLMRoute) -> Candidate | InvalidRoute:
    try:
        return candidate_of(route, compile_route(route))
    except InvalidRoute as error:
        return error


def _value(found: Secret, key: str) -> str | None:
    """The text under a key of a Secret; None where there is none."""
    text = (found.data or {}).get(key)
    if text is None:
        return None
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
