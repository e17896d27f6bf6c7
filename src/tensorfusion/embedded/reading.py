"""Get and list: stored bytes in, response bytes out. Nothing is decoded unless the client wants a Table or metadata
only.
"""

from datetime import datetime

from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.negotiation import Form, NotAcceptable, Representation
from tensorfusion.embedded.objects import JsonObject, decode_object, decode_record, encode, encoded_record, prefix_of
from tensorfusion.embedded.options import ListOptions, check_reached, decode_continue, encode_continue
from tensorfusion.embedded.selectors import Predicate, predicate
from tensorfusion.embedded.store import Page, Record, Store
from tensorfusion.embedded.tables import IncludeObject, partial, partial_list, table


def keep_of(kind: Kind, options: ListOptions, *, name: str = "") -> Predicate | None:
    """The selectors of a query, and the one name of a single-object watch, as a predicate."""
    stored = {} if kind.view is None else kind.view.selectors

    def computed(record: Record) -> dict[str, str]:
        obj = decode_object(record.data)
        fields = kind.fields(obj if kind.view is None else kind.view.to_shown(obj))
        return {stored.get(field, field): value for field, value in fields.items()}

    keep = predicate(
        options.labels,
        options.fields,
        frozenset(kind.selectable),
        stored,
        kind.unknown_field,
        computed=computed,
    )
    if not name:
        return keep
    if keep is None:
        return lambda record: record.key.name == name
    return lambda record: record.key.name == name and keep(record)


def read_page(store: Store, kind: Kind, namespace: str, options: ListOptions) -> Page:
    """The records that a list asks for.

    Raises:
        BadRequest: a selector or the continue token does not parse.
        Gone: the token or version is older than the window of history.
        ServerError: the version has not been reached (504).
    """
    keep = keep_of(kind, options)
    resource = kind.stored.id
    if options.continue_:
        revision, after = decode_continue(options.continue_, resource)
        check_reached(revision, store.revision)
        return store.page(
            resource, namespace=namespace, limit=options.limit, after_key=after, at_revision=revision, keep=keep
        )
    check_reached(options.revision, store.revision)
    at = options.revision if options.exact and options.revision else 0
    limit = 0 if options.revision == 0 else options.limit  # whoever takes any version is given it whole
    return store.page(resource, namespace=namespace, limit=limit, at_revision=at, keep=keep)


def shown_object(kind: Kind, record: Record, *, managed: bool) -> JsonObject:
    """A stored object as clients of the kind see it, decoded."""
    obj = decode_record(record, managed=managed)
    return kind.converted(obj) if kind.view is None else kind.view.to_shown(obj)


def shown_bytes(kind: Kind, record: Record, prefix: bytes, *, managed: bool) -> bytes:
    """The JSON of a stored object; ``prefix`` is the kind's. It is decoded only where it is stored otherwise."""
    if record.data.startswith(prefix):
        return encoded_record(record, prefix, managed=managed)
    return encode(shown_object(kind, record, managed=managed))


def list_metadata(page: Page) -> JsonObject:
    """The ListMeta of a page."""
    metadata: JsonObject = {"resourceVersion": str(page.revision)}
    if page.last is not None:
        metadata["continue"] = encode_continue(page.revision, page.last)
        if page.remaining is not None:
            metadata["remainingItemCount"] = page.remaining
    return metadata


def list_body(
    kind: Kind, page: Page, representation: Representation, *, include: IncludeObject, now: datetime
) -> bytes:
    """The JSON of a page in the form that was asked for."""
    metadata, managed, version = list_metadata(page), representation.managed, representation.version
    if representation.form is Form.TABLE:
        objects = [shown_object(kind, record, managed=managed) for record in page.records]
        return encode(table(kind, objects, include=include, now=now, list_meta=metadata, version=version))
    if representation.form is Form.PARTIAL:
        raise NotAcceptable(f"you requested {Form.PARTIAL}, but the requested object is a list ({kind.list_kind})")
    if representation.form is Form.PARTIAL_LIST:
        objects = [shown_object(kind, record, managed=managed) for record in page.records]
        return encode(partial_list(objects, metadata, version))
    resource = kind.resource
    prefix = prefix_of(resource)
    if kind.is_custom:  # a server always says of these whether there is more
        metadata.setdefault("continue", "")
    head = encode({"kind": kind.list_kind, "apiVersion": resource.api_version, "metadata": metadata})
    shown = [shown_bytes(kind, record, prefix, managed=managed) for record in page.records]
    if not kind.is_custom:  # the list says what its items are
        own = len(prefix)
        shown = [b"{" + item[own:] for item in shown]
    items = b",".join(shown)
    return b"".join((head[:-1], b',"items":[', items, b"]}\n"))


def object_body(
    kind: Kind, record: Record, representation: Representation, *, include: IncludeObject, now: datetime
) -> bytes:
    """The JSON of one object in the form that was asked for."""
    if representation.form is Form.OBJECT:
        return shown_bytes(kind, record, prefix_of(kind.resource), managed=representation.managed)
    obj = shown_object(kind, record, managed=representation.managed)
    if representation.form is Form.TABLE:
        metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
        return encode(table(kind, [obj], include=include, now=now, list_meta=metadata, version=representation.version))
    if representation.form is Form.PARTIAL_LIST:
        found = kind.resource.kind
        raise NotAcceptable(f"you requested {Form.PARTIAL_LIST}, but the requested object is not a list ({found})")
    return encode(partial(obj, representation.version))
