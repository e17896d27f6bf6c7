"""Watch events as bytes: each is encoded once for all watches that show a kind in the same way.

Apart from the watches because it is what they share. An event of five hundred watches is the same bytes object five
hundred times; only what is recent is kept, because whoever keeps up asks for it within the same turn of the loop.

Source: Kubernetes API concepts, "Efficient detection of changes", "Watch bookmarks", "Receiving resources as Tables".
"""

from weakref import WeakValueDictionary

from tensorfusion.clock import Clock
from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.negotiation import Form, Representation
from tensorfusion.embedded.objects import JsonObject, encode, prefix_of
from tensorfusion.embedded.reading import shown_bytes, shown_object
from tensorfusion.embedded.statuses import status_body
from tensorfusion.embedded.store import EventKind, Record
from tensorfusion.embedded.tables import IncludeObject, partial, table
from tensorfusion.errors import ApiError

_HEADS = {kind: b'{"type":"%s","object":' % kind.value.encode() for kind in EventKind}
_TAIL = b"}\n"
_SHARED_FROM = 2
_KEPT_EVENTS = 256
_KEPT_BYTES = 1 << 20


class Shape:
    """How the events of a kind look to clients that asked for the same representation."""

    def __init__(self, kind: Kind, representation: Representation, include: IncludeObject, *, clock: Clock) -> None:
        self.kind = kind
        self._form = representation.form
        self._version = representation.version
        self._include = include
        self._managed = representation.managed
        self._clock = clock
        self._prefix = prefix_of(kind.resource)
        self._recent: dict[tuple[EventKind, int, int], bytes] = {}
        self._watches = 0
        self.kept_bytes = 0

    @property
    def has_columns(self) -> bool:
        """Whether the first event of a watch says what the columns are."""
        return self._form is Form.TABLE

    def join(self) -> None:
        """One more watch shows events in this way."""
        self._watches += 1

    def leave(self) -> None:
        """One less; a single one shares nothing, so nothing is kept for it."""
        self._watches -= 1
        if self._watches < _SHARED_FROM:
            self._recent.clear()
            self.kept_bytes = 0

    def event(self, event: EventKind, record: Record) -> bytes:
        """The line of an event, which others may have asked for already."""
        if self._watches < _SHARED_FROM:
            return self.new_event(event, record)
        second = int(self._clock.now().timestamp()) if self._form is Form.TABLE else 0  # rows tell ages
        key = (event, record.revision, second)
        found = self._recent.get(key)
        if found is None:
            found = self._recent[key] = self.new_event(event, record)
            self.kept_bytes += len(found)
            while len(self._recent) > _KEPT_EVENTS or self.kept_bytes > _KEPT_BYTES:
                self.kept_bytes -= len(self._recent.pop(next(iter(self._recent))))
        return found

    def new_event(self, event: EventKind, record: Record, *, columns: bool = False) -> bytes:
        """The line of an event that is of interest to one watch only."""
        if self._form is Form.OBJECT:
            shown = shown_bytes(self.kind, record, self._prefix, managed=self._managed)
        else:
            shown = encode(self._shaped(shown_object(self.kind, record, managed=self._managed), columns=columns))
        return b"".join((_HEADS[event], shown, _TAIL))

    def _shaped(self, obj: JsonObject, *, columns: bool) -> JsonObject:
        if self._form is not Form.TABLE:
            return partial(obj, self._version)
        metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
        now = self._clock.now()
        return table(
            self.kind,
            [obj],
            include=self._include,
            now=now,
            list_meta=metadata,
            columns=columns,
            version=self._version,
        )

    def bookmark(self, revision: int, annotations: dict[str, str] | None) -> bytes:
        """The line that says that everything up to a revision has been told."""
        metadata: JsonObject = {"resourceVersion": str(revision)}
        if annotations:
            metadata["annotations"] = annotations
        resource = self.kind.resource
        obj: JsonObject = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        if self._form is Form.TABLE:
            now, version = self._clock.now(), self._version
            obj = table(
                self.kind, [], include=self._include, now=now, list_meta=metadata, columns=False, version=version
            )
        elif self._form is not Form.OBJECT:
            obj = partial(obj, self._version)
        return b'{"type":"BOOKMARK","object":' + encode(obj) + _TAIL


class Shapes:
    """The shapes of all open watches of one server."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: WeakValueDictionary[tuple[int, Representation, IncludeObject], Shape] = WeakValueDictionary()

    def of(self, kind: Kind, representation: Representation, include: IncludeObject) -> Shape:
        """The shape of a representation; the same object for equal ones, as long as anybody holds it."""
        if representation.form is not Form.TABLE:
            include = IncludeObject.METADATA
        key = (id(kind), representation, include)  # a definition that changes makes a new kind; shapes hold theirs
        shape = self._open.get(key)
        if shape is None:
            shape = self._open[key] = Shape(kind, representation, include, clock=self._clock)
        return shape


def failure(error: ApiError) -> bytes:
    """The line of an error, after which a watch ends."""
    return b'{"type":"ERROR","object":' + encode(status_body(error)) + _TAIL
