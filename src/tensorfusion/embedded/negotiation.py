"""Which representation a client gets: JSON or YAML, pretty or compressed, the object itself, a Table, or its metadata.

Source: Kubernetes API concepts, "Alternate representations of resources", "Receiving resources as Tables".
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from urllib.parse import parse_qs

from tensorfusion.errors import ApiError

JSON = "application/json"
YAML = "application/yaml"
_META = "meta.k8s.io"
_META_VERSIONS = ("v1", "v1beta1")
_MANAGED = "managedfields"
"""A parameter of our own: ``application/json;managedFields=omit``. Other servers ignore it."""

_PEOPLE = (b"curl", b"Wget", b"Mozilla/5.0")
"""What browsers and the tools of people at a terminal call themselves."""
_TRUE = frozenset({"1", "t", "T", "true", "True", "TRUE"})


class Form(StrEnum):
    """Wire values of the ``as`` parameter of an Accept header; OBJECT is its absence."""

    OBJECT = ""
    TABLE = "Table"
    PARTIAL = "PartialObjectMetadata"
    PARTIAL_LIST = "PartialObjectMetadataList"


@dataclass(frozen=True, slots=True)
class Representation:
    """``managed`` is false for clients that do not want to see managed fields; our own ones say so. ``version`` is that
    of a Table or of metadata."""

    media_type: str = JSON
    form: Form = Form.OBJECT
    managed: bool = True
    version: str = "v1"


PLAIN = Representation()


class NotAcceptable(ApiError):
    """No representation that the client accepts is served."""

    code, reason = 406, "NotAcceptable"


class NoSuchType(NotAcceptable):
    """The client accepts no media type that is served."""


@lru_cache(maxsize=512)
def negotiate(accept: str, *, streamed: bool = False) -> Representation:
    """The first served representation in the client's order of preference; what is ``streamed`` is never YAML.

    Raises:
        NotAcceptable: none is.
    """
    served = (JSON,) if streamed else (JSON, YAML)
    known = False
    for media_type, parameters in clauses(accept):
        if media_type == "*/*":
            media_type = JSON  # noqa: PLW2901  # a wildcard means JSON
        elif media_type not in served:
            continue
        known = True
        form, managed = parameters.get("as", ""), parameters.get(_MANAGED) != "omit"
        if not form:
            return Representation(media_type, managed=managed)
        version = parameters.get("v", "")
        if form in set(Form) and parameters.get("g") == _META and version in _META_VERSIONS:
            return Representation(media_type, Form(form), managed, version)
    if known:
        raise wrong_form(*served)
    raise not_acceptable(*served)


def wrong_form(*served: str) -> NotAcceptable:
    """The media type is served, what its parameters ask for is not."""
    return NotAcceptable(f"only the following media types are accepted: {', '.join(served)}")


def not_acceptable(*served: str) -> NoSuchType:
    """No media type of the client's is served."""
    return NoSuchType(f"406: Not Acceptable\n\nAvailable representations: {', '.join(served)}")


@lru_cache(maxsize=512)
def clauses(accept: str) -> tuple[tuple[str, dict[str, str]], ...]:
    """Media types of an Accept header with their parameters, best first."""
    found = []
    for order, clause in enumerate((accept or "*/*").split(",")):
        media_type, *rest = clause.split(";")
        parameters = {}
        for part in rest:
            name, _, value = part.partition("=")
            parameters[name.strip().lower()] = value.strip().strip('"')
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            quality = 0.0
        if media_type.strip() and quality > 0:
            found.append((-quality, order, media_type.strip().lower(), parameters))
    return tuple((media_type, parameters) for _, _, media_type, parameters in sorted(found, key=lambda item: item[:2]))


def takes_gzip(accepted: bytes) -> bool:
    """Whether gzip is among the encodings that a client accepts, by its bare name."""
    return accepted == b"gzip" or any(part.strip() == b"gzip" for part in accepted.split(b","))


def wants_pretty(query: bytes, agent: bytes) -> bool:
    """Whether JSON is to be indented: as the parameter says, or because people are to read it."""
    if b"pretty" in query:
        asked = parse_qs(query.decode("latin-1")).get("pretty")
        if asked:
            return asked[0] in _TRUE
    return agent.startswith(_PEOPLE)
