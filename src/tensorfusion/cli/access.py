"""Who may use the HTTP API: bearer tokens, reviewed and authorised by the Kubernetes API.

Source: TokenReview and SubjectAccessReview of the Kubernetes API.
"""

import hashlib
import time

from starlette.requests import Request

from tensorfusion.errors import Forbidden, Unauthorized
from tensorfusion.kube.client import Client
from tensorfusion.model.resources import SUBJECT_ACCESS_REVIEWS, TOKEN_REVIEWS

_REMEMBER = 60.0
_MOST = 4096


class Authorizer:
    """``check`` raises unless the request's token may do what it asks. Good answers are remembered for a minute."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._allowed: dict[tuple[bytes, str, str], float] = {}

    async def check(self, request: Request) -> None:
        """Let the request pass.

        Raises:
            Unauthorized: no token, or not a good one.
            Forbidden: the user has no right to this path.
        """
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthorized(
                "wanted a bearer token: send `Authorization: Bearer $(kubectl create token ACCOUNT -n NAMESPACE)`"
            )
        verb, path = request.method.lower(), request.url.path
        key = (hashlib.sha256(token.encode()).digest(), verb, path)
        if time.monotonic() - self._allowed.get(key, float("-inf")) < _REMEMBER:
            return
        await self._review(token, verb, path)
        if len(self._allowed) >= _MOST:
            self._allowed.clear()
        self._allowed[key] = time.monotonic()

    async def _review(self, token: str, verb: str, path: str) -> None:
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
                "nonResourceAttributes": {"verb": verb, "path": path},
            },
        }
        answer = (await self._client.create(SUBJECT_ACCESS_REVIEWS, review)).get("status", {})
        if not answer.get("allowed"):
            name = user.get("username")
            raise Forbidden(
                f'User "{name}" cannot {verb} path "{path}": grant it in a ClusterRole with nonResourceURLs'
            )
