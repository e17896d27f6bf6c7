"""URLs.

Source: apiserver pkg/cel/library/urls.go.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tensorfusion.cel import costs
from tensorfusion.cel.declarations import Function, Library, Overload
from tensorfusion.cel.errors import EvaluationError
from tensorfusion.cel.library.url_syntax import Parts, check_url, parse_query, parse_url, split_port
from tensorfusion.cel.types import BOOL, STRING, Type, list_of, map_of, opaque
from tensorfusion.cel.values import Opaque, Value

URL = opaque("kubernetes.URL")


@dataclass(frozen=True, slots=True, eq=False)
class Url(Opaque):
    """A URL; two are equal that are written alike once they are read."""

    parts: Parts
    TYPE = URL

    def __str__(self) -> str:
        return str(self.parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Url) and str(self.parts) == str(other.parts)

    def __hash__(self) -> int:
        return hash(str(self.parts))


def _parse(text: str) -> Url:
    try:
        return Url(parse_url(text))
    except EvaluationError as error:
        raise EvaluationError(f"URL parse error during conversion from string: {error}") from None


def _is_url(text: str) -> bool:
    try:
        check_url(text)
    except EvaluationError:
        return False
    return True


def _read(name: str, identifier: str, implementation: Callable[[Parts], Value], result: Type = STRING) -> Function:
    read = Overload(identifier, (URL,), result, lambda url: implementation(url.parts), member=True)
    return Function(name, (read,))


URLS: Library = (
    Function("url", (Overload("string_to_url", (STRING,), URL, _parse, cost=costs.over_first()),)),
    Function("isURL", (Overload("is_url_string", (STRING,), BOOL, _is_url),)),
    _read("getScheme", "url_get_scheme", lambda parts: parts.scheme),
    _read("getHost", "url_get_host", lambda parts: parts.host),
    _read("getHostname", "url_get_hostname", lambda parts: split_port(parts.host)[0]),
    _read("getPort", "url_get_port", lambda parts: split_port(parts.host)[1]),
    _read("getEscapedPath", "url_get_escaped_path", lambda parts: parts.path),
    _read("getQuery", "url_get_query", lambda parts: parse_query(parts.query or ""), map_of(STRING, list_of(STRING))),
)
