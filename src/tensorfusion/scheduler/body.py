"""A pod from the body of an HTTP request, YAML or JSON, from somebody who may mean harm.

Apart from the routes because of what it guards against: bodies without end, nesting that would exhaust the stack, and
aliases that unfold to more than memory. All of them are a 4xx with one line. YAML is read as Kubernetes reads it:
times stay strings.
"""

import msgspec
import yaml
from starlette.requests import Request

from tensorfusion.errors import BadRequest, TooLarge
from tensorfusion.model.meta import Raw

LARGEST_BODY = 3 << 20
LARGEST_YAML = 256 << 10
"""YAML takes seconds of CPU per megabyte to read; a pod is a few kilobytes."""
_DEEPEST = 64
_TIMESTAMP = "tag:yaml.org,2002:timestamp"


class _Loader(yaml.CSafeLoader):
    """YAML without its own idea of time."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


async def read_body(request: Request) -> bytes:
    """The whole body.

    Raises:
        TooLarge: it is longer than 3 MiB; the rest is not read.
    """
    parts = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > LARGEST_BODY:
            raise TooLarge(f"body: wanted at most {LARGEST_BODY} bytes, found more")
        parts.append(part)
    return b"".join(parts)


def parse_pod(body: bytes) -> Raw:
    """The pod in a body, as JSON values.

    Raises:
        BadRequest: the body is neither YAML nor JSON, or it is no pod.
        TooLarge: the YAML is longer than any pod.
    """
    try:
        found: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = _yaml(body)
    if not isinstance(found, dict):
        raise BadRequest(f"body: wanted a Pod as YAML or JSON, found {type(found).__name__}")
    kind = found.get("kind", "Pod")
    if kind != "Pod":
        raise BadRequest(f"body: wanted kind Pod, found {str(kind)[:64]!r}")
    return found


def _yaml(body: bytes) -> object:
    if len(body) > LARGEST_YAML:
        raise TooLarge(f"body: wanted at most {LARGEST_YAML} bytes of YAML, found {len(body)}")
    try:
        text = body.decode()
        _check_shape(text)
        documents = [document for document in yaml.load_all(text, Loader=_Loader) if document is not None]
        plain = [msgspec.json.decode(msgspec.json.encode(document)) for document in documents]
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise BadRequest(f"body: wanted a Pod as YAML or JSON: {' '.join(str(error).split())[:300]}") from error
    if len(plain) != 1:
        raise BadRequest(f"body: wanted one Pod, found {len(plain)} documents")
    return plain[0]


def _check_shape(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise BadRequest("body: YAML aliases are not accepted: write the value out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                raise BadRequest(f"body: wanted at most {_DEEPEST} levels of nesting, found more")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
