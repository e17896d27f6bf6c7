"""Who may use the HTTP API: bearer tokens, reviewed and authorised by the Kubernetes API.

Source: TokenReview and SubjectAccessReview of the Kubernetes API.
"""

import hashlib
import time

from starlette.requests import Request

from tensorfusion.errors import Forbidden, Unauthorized
from tensorfusion.kube.client import Client
from tensorfusion.model.meta import Key, Raw
from tensorfusion.model.resources import SUBJECT_ACCESS_REVIEWS, TOKEN_REVIEWS

_REMEMBER = 60.0
_MOST = 4096


class Authorizer:
    """``check`` raises unless the request's token may do what it asks. Good answers are remembered for a minute."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._allowed: dict[tuple[bytes, str, str, Key | None], float] = {}

    async def check(self, request: Request, pod: Key | None = None) -> None:
        """Let the request pass: whoever may use its path or, where it is about a pod, whoever may read that pod.

        A pod without a name stands for all pods of its namespace, and without a namespace for all there are.

        Raises:
            Unauthorized: no token, or not a good one.
            Forbidden: the user has no right to this path, or to this pod.
        """
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthorized(
                "wanted a bearer token: send `Authorization: Bearer $(kubectl create token ACCOUNT -n NAMESPACE)`"
            )
        verb, path = request.method.lower(), request.url.path
        key = (hashlib.sha256(token.encode()).digest(), verb, path, pod)
        if time.monotonic() - self._allowed.get(key, float("-inf")) < _REMEMBER:
            return
        await self._review(token, verb, path, pod=pod)
        if len(self._allowed) >= _MOST:
            self._allowed.clear()
        self._allowed[key] = time.monotonic()

    async def _review(self, token: str, verb: str, path: str, *, pod: Key | None) -> None:
        body = {"apiVersion": TOKEN_REVIEWS.api_version, "kind": TOKEN_REVIEWS.kind, "spec": {"token": token}}
        status = (await self._client.create(TOKEN_REVIEWS, body)).get("status", {})
        if not status.get("authenticated"):
            raise Unauthorized("the bearer token is not accepted: it has expired, or belongs to another cluster")
        user = status.get("user", {})
        review = {
            "apiVersion": SUBJECT_ACCESS_REVIEWS.api_version,
            "kind": SUBJECT_ACCESS_REVIEWS.kind,
            "spec": {
                "user": user.get("username"),
                "groups": user.get("groups") or [],
                "uid": user.get("uid"),
                **_asked(verb, path, pod),
            },
        }
        answer = (await self._client.create(SUBJECT_ACCESS_REVIEWS, review)).get("status", {})
        if not answer.get("allowed"):
            name = user.get("username")
            if pod is not None and not pod.name:
                where = f'in the namespace "{pod.namespace}"' if pod.namespace else "in all namespaces"
                raise Forbidden(f'User "{name}" cannot list pods {where}: name a namespace whose pods you may list')
            if pod is not None:
                raise Forbidden(f'User "{name}" cannot get pod "{pod.name}" in the namespace "{pod.namespace}"')
            raise Forbidden(
                f'User "{name}" cannot {verb} path "{path}": grant it in a ClusterRole with nonResourceURLs'
            )


def _asked(verb: str, path: str, pod: Key | None) -> Raw:
    """What a SubjectAccessReview is to decide."""
    if pod is None:
        return {"nonResourceAttributes": {"verb": verb, "path": path}}
    attributes = {"verb": "get" if pod.name else "list", "resource": "pods", "version": "v1"}
    return {"resourceAttributes": {**attributes, "namespace": pod.namespace, "name": pod.name}}
