"""The gateway's own description of itself: ``GET /openapi.json``.

Bodies of the APIs that pass through are whatever their vendors say; described are the paths, who may call them, what
the gateway adds to requests and answers, and its errors.

Source: OpenAPI 3.1; the platform's contract, 3.1 to 3.5.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from tensorfusion import __version__

Json = Any  # Any: JSON of any shape

_VENDORS: Final = {
    "/v1/chat/completions": "A chat completion, as OpenAI has it; whole or as a stream.",
    "/v1/completions": "A completion, as OpenAI has it; whole or as a stream.",
    "/v1/embeddings": "Embeddings, as OpenAI has them.",
    "/v1/responses": "A response, as OpenAI has it; whole or as a stream.",
    "/v1/messages": "A message, as Anthropic has it; whole or as a stream.",
    "/v1/rerank": "A reranking, passed on as it is.",
    "/v1/{path}": "Anything else, passed on as it is: audio, images, files, batches.",
}
_PAGES: Final = {
    "/v1/models": "The models that the caller may ask for.",
    "/v1/models/{id}": "One of them.",
    "/routes": "The routes that the caller may use, and how their targets do.",
    "/providers/status": "How the providers of these routes do.",
}
_USAGE: Final = {
    "/v1/usage": "What requests of a period used and cost.",
    "/v1/logs": "Records of requests of a period, the newest first.",
}
_ADMIN: Final = {
    "/admin/keys": {"get": "The keys of the caller's namespace.", "post": "A new key; its text is told this once."},
    "/admin/keys/{id}": {
        "get": "One of them.",
        "patch": "Change it; null takes a field away.",
        "delete": "Delete it.",
    },
    "/v1/configs": {
        "get": "The configurations of Portkey's that the caller's namespace keeps.",
        "post": "Keep one; requests name it by its id in x-portkey-config.",
    },
    "/v1/configs/{id}": {"get": "One of them.", "put": "Change its name or what it says.", "delete": "Delete it."},
    "/v1/virtual-keys": {
        "get": "The credentials that the namespace keeps for them; never the credentials themselves.",
        "post": "Keep one, for one provider and address; configurations name it as virtual_key.",
    },
    "/v1/virtual-keys/{name}": {"put": "Another credential by that name.", "delete": "Delete it."},
    "/tokens/usage": {"post": "Usage of a program that went around the gateway, for its records."},
    "/admin/keys/{id}/rotate": {"post": "A new text for it, told this once; the old one is good for a while."},
}
"""For keys with scope ``admin``."""
_METRICS: Final = "Prometheus metrics, of all workers. Without a key for those that the setting scrape says."
_BUDGET: Final = "A key's budget, what of it today and this month have used, and what is left; not enforced yet."
_OF_ADMIN: Final = ("400", "401", "403", "404", "409", "429", "501", "503")
_OPEN: Final = {
    "/health": "The process runs.",
    "/ready": "It takes requests.",
    "/openapi.json": "This.",
}
_ERRORS: Final = {
    "400": "The request is wrong, or a target says so.",
    "401": "No key, or none that is known.",
    "403": "The key may not do this.",
    "404": "No route takes the model, or there is nothing of that name.",
    "409": "It is there already, or somebody else changed it, or the caller would lock itself out.",
    "413": "The body is too large.",
    "429": "A limit or a budget is used up; Retry-After says for how long.",
    "501": "This gateway keeps no such thing.",
    "502": "The targets failed.",
    "503": "No target can be asked; Retry-After says for how long.",
    "504": "The targets did not answer in time.",
}
_REQUEST_FIELDS: Final = {
    "x-tf-route": "The route to take.",
    "x-tf-session": "Stay with one target.",
    "x-tf-priority": "low, medium, high or critical.",
    "x-tf-cache": "no-store, no-cache or only-if-cached; nothing is kept yet, and the last gets 504.",
    "x-portkey-config": "A configuration of Portkey's, as JSON or by name.",
    "x-request-id": "Comes back with the answer.",
}
_ANSWER_FIELDS: Final = {
    "x-tf-target": "Who answered.",
    "x-tf-model": "Its name of the model.",
    "x-tf-attempts": "How many were asked.",
    "x-tf-overhead-ms": "What the gateway itself took, up to the first word.",
    "x-tf-cost-usd": "What the answer costs, where it is no stream and a price is known.",
    "x-request-id": "The request's name in records.",
}
_TEXT: Final = {"type": "string"}


def document() -> bytes:
    """The description, as JSON."""
    paths: dict[str, Json] = {}
    for path, text in _VENDORS.items():
        paths[path] = {"post": _operation(path, text, asks=True)}
    for path, text in _PAGES.items():
        paths[path] = {"get": _operation(path, text)}
    for path, text in _USAGE.items():
        paths[path] = {"get": _operation(path, text)}
    paths["/tokens/budget/{key}"] = {"get": _operation("/tokens/budget/{key}", _BUDGET, fails=("401", "403", "404"))}
    for path, methods in _ADMIN.items():
        paths[path] = {
            method: _operation(path, text, body=method in ("post", "put", "patch"), fails=_OF_ADMIN)
            for method, text in methods.items()
        }
    for path, text in _OPEN.items():
        paths[path] = {"get": {**_operation(path, text), "security": []}}
    metrics = _operation("/metrics", _METRICS, fails=("401", "403"))
    paths["/metrics"] = {"get": {**metrics, "security": [{}, {"bearer": []}, {"key": []}]}}
    paths["/fallback/test"] = {
        "post": _operation("/fallback/test", "Which targets would be tried for a chat completion, and why.", body=True)
    }
    error = {"type": "object", "properties": dict.fromkeys(("message", "type", "code", "param"), _TEXT)}
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "tensorfusion AI gateway", "version": __version__},
            "servers": [
                {"url": "/"},
                {
                    "url": "/routes/{route}",
                    "description": "What is below /v1/, by the route that is named here.",
                    "variables": {"route": {"default": "chat", "description": "Name of an LLMRoute."}},
                },
            ],
            "paths": paths,
            "security": [{"bearer": []}, {"key": []}],
            "components": {
                "securitySchemes": {
                    "bearer": {"type": "http", "scheme": "bearer"},
                    "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                },
                "schemas": {"Error": {"type": "object", "properties": {"error": error}, "required": ["error"]}},
            },
        }
    )


def _operation(path: str, text: str, *, asks: bool = False, body: bool = False, fails: Iterable[str] = ()) -> Json:
    found: Json = {"summary": text, "responses": {"200": {"description": "The answer."}}}
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    parameters = [{"name": name, "in": "path", "required": True, "schema": _TEXT} for name in names]
    if asks:
        parameters += [
            {"name": name, "in": "header", "description": what, "required": False, "schema": _TEXT}
            for name, what in _REQUEST_FIELDS.items()
        ]
        found["responses"]["200"]["headers"] = {
            name: {"description": what, "schema": _TEXT} for name, what in _ANSWER_FIELDS.items()
        }
        fails = _ERRORS
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    found["responses"] |= {status: {"description": _ERRORS[status], "content": content} for status in fails}
    if parameters:
        found["parameters"] = parameters
    if asks or body:
        found["requestBody"] = {"content": {"application/json": {"schema": {"type": "object"}}}}
    return found
