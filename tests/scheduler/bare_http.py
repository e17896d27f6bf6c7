"""The scheduler's routes called without a server."""

import json
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request

from tensorfusion.errors import Unauthorized
from tensorfusion.model.meta import Key


class Http:
    """Calls an ASGI application without a server."""

    def __init__(self, app: Starlette) -> None:
        self._app = app
        self.headers: dict[str, str] = {}
        """Those of the last answer, in small letters."""

    async def call(self, method: str, path: str, body: bytes | str = b"", kind: str = "") -> tuple[int, Any]:
        sent = body.encode() if isinstance(body, str) else body
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(b"content-type", kind.encode())],
        }
        parts = iter([sent[i : i + 65536] for i in range(0, len(sent), 65536)] or [b""])
        answer: dict[str, Any] = {"body": b""}

        async def receive() -> dict[str, Any]:
            part = next(parts, None)
            return {"type": "http.request", "body": part or b"", "more_body": part is not None}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                answer["status"] = message["status"]
                self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                answer["body"] += message.get("body", b"")

        await self._app(scope, receive, send)
        return answer["status"], json.loads(answer["body"])


def unchanged(body: dict[str, Any]) -> dict[str, Any]:
    return body


async def nobody(_: Request, pod: Key | None) -> None:
    raise Unauthorized("no token: send Authorization: Bearer TOKEN")


async def anybody(_: Request, pod: Key | None) -> None:
    return
