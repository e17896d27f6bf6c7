"""Decode built-in objects: what Go's typed decoder and the defaulting functions do, compiled from the facts.

One pass over the object: wrong JSON types are refused, unknown fields are dropped and named, nulls, empty optional
lists and maps, and zeros of fields that are no pointers in Go are dropped, what Go always shows is there, quantities
become canonical, and structures get their defaults. Compiled into closures once per kind: a structure is one dict of
``field -> Entry``. A field whose value already has the plain type, and is no zero, costs one lookup; a structure inside
another costs one call.
Custom resources are decoded by ``structural``: there wrong types are a matter of validation.
"""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from tensorfusion.embedded.schema import scalars
from tensorfusion.embedded.schema.computed import COMPUTED_BY_OWNER
from tensorfusion.embedded.schema.path import Member, Path, dotted, plain_text_of, steps_of
from tensorfusion.embedded.schema.scalars import Mismatch, Scalar
from tensorfusion.errors import BadRequest
from tensorfusion.model.meta import Raw

# Any: a JSON value. The list collects the paths of unknown fields.
Decoder = Callable[[Any, Path, list[str]], Any]
Entry = tuple[type | None, Decoder, Decoder | None]
"""What a field takes: the plain type that needs no look, the decoder of everything, and that of a structure, which
objects are given to at once."""
Definitions = Mapping[str, Raw]

DEEPEST = 120  # levels of free JSON and of schemas inside schemas
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_EXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."
_PROPS = _EXTENSIONS + "JSONSchemaProps"
_EMPTY = (_EXTENSIONS + "CustomResourceSubresourceStatus",)
"""Structures without a field, where other structures without properties are free JSON."""
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_GIVEN_OUT = frozenset({("ServiceSpec", "ipFamilies"), ("ServiceSpec", "ipFamilyPolicy")})
"""What the facts see as defaults, and is given out with the addresses: see ``services``."""
_SPECIAL: dict[str, tuple[type | None, Scalar, str]] = {
    _QUANTITY: (None, scalars.quantity, "resource.Quantity"),
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": (str, scalars.int_or_string, "intstr.IntOrString"),
    _META + "Time": (None, scalars.time, "v1.Time"),
    _META + "MicroTime": (None, scalars.micro_time, "v1.MicroTime"),
}


def compile_decoder(definitions: Definitions, root: str, *, restored: bool = False) -> Decoder:
    """The decoder of one kind's whole object. ``root`` is its definition; some defaults depend on it.

    ``restored``: Go makes the object of maps, not of JSON; integers that are too large are cut to their width then.
    """
    return _Compiler(definitions, root, restored=restored).struct(root)


def limit_depth(value: Any, path: Path) -> None:
    """Refuse JSON nested deeper than anything real, without recursion.

    Raises:
        BadRequest: it is too deep.
    """
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        level = [
            child
            for item in level
            for child in (item.values() if type(item) is dict else item if type(item) is list else ())
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return
    where = plain_text_of(path) or "the object"
    raise BadRequest(f"{where} is nested deeper than {DEEPEST} levels: flatten it")


class _Compiler:
    def __init__(self, definitions: Definitions, root: str, *, restored: bool) -> None:
        self._definitions = definitions
        self._integer = scalars.cut_integer if restored else scalars.integer
        self._root = root.rsplit(".", 1)[-1]
        self._structs: dict[str, Decoder] = {}

    def struct(self, name: str) -> Decoder:
        """The decoder of a named structure; it may contain itself."""
        found = self._structs.get(name)
        if found is None:
            entries: dict[str, Entry] = {}
            short = name.rsplit(".", 1)[-1]
            definition = self._definitions[name]
            always, zeros = definition.get("shown", {}), definition.get("zeros", ())
            found = self._structs[name] = _struct_decoder(short, entries, self._fillers(name, short), always)
            if name == _PROPS:
                found = self._structs[name] = _with_depth(found)
            # what is shown empty, and what even an empty list or map of asks for something, or is wrong
            shown = {*definition.get("required", ()), *always, "managedFields", "dependencies"}
            for field, schema in definition.get("properties", {}).items():
                entry = self._entry(schema, short, drop_empty=field not in shown and field not in zeros)
                entries[field] = _without_zero(entry) if field in zeros else entry
        return found

    def _entry(self, schema: Raw, owner: str, *, drop_empty: bool = False) -> Entry:
        """``drop_empty``: an empty list or map is left out, as Go does with optional ones."""
        reference = schema.get("$ref")
        if reference is not None:
            return self._reference(reference, owner)
        match schema.get("type"):
            case "string" if schema.get("format") == "byte":
                return None, _leaf(scalars.base64_bytes, owner, "[]uint8"), None
            case "string":
                return str, _leaf(scalars.text, owner, "string"), None
            case "boolean":
                return bool, _leaf(scalars.truth, owner, "bool"), None
            case "integer":
                width = schema.get("format", "int64")
                return None, _leaf(self._integer(width), owner, width), None
            case "number":
                return int, _leaf(scalars.number, owner, "float64"), None
            case "array":
                items = schema["items"]
                item, name = self._entry(items, owner), f"[]{self._go_name(items)}"
                return None, _array_decoder(item, owner, name, zero=_zero(items), drop_empty=drop_empty), None
            case "object" if isinstance(schema.get("additionalProperties"), dict):
                inner = schema["additionalProperties"]
                item, name = self._entry(inner, owner), f"map[string]{self._go_name(inner)}"
                if inner.get("$ref") == _QUANTITY:
                    item = None, _leaf(scalars.amount, owner, "resource.Quantity"), None
                return None, _map_decoder(item, owner, name, zero=_zero(inner), drop_empty=drop_empty), None
            case _:
                return None, _free, None

    def _reference(self, name: str, owner: str) -> Entry:
        special = _SPECIAL.get(name)
        if special is not None:
            plain, scalar, go_name = special
            return plain, _leaf(scalar, owner, go_name), None
        if name.startswith(_EXTENSIONS + "JSONSchemaPropsOr"):
            return None, self._schema_or(name, owner), None
        if "properties" in self._definitions[name] or name in _EMPTY:
            struct = self.struct(name)
            return None, _with_owner(struct, owner, self._go_name({"$ref": name})), struct
        return None, _free, None

    def _schema_or(self, name: str, owner: str) -> Decoder:
        """``JSONSchemaPropsOrBool`` and its relatives: a schema, or what else their name says."""
        struct, free = self.struct(_PROPS), _free
        schema = self._reference(_PROPS, owner)
        several = _array_decoder(schema, owner, "[]v1.JSONSchemaProps", zero={}, drop_empty=True)

        def decode(value: Any, path: Path, unknown: list[str]) -> Any:
            if type(value) is dict:
                return struct(value, path, unknown)
            if name.endswith("OrBool") and type(value) is not bool:
                _mismatch(Mismatch(scalars.json_word(value)), path, owner, "v1.JSONSchemaPropsOrBool")
            if name.endswith("OrArray"):  # as Go: what is neither a schema nor a list of them is nothing
                return several(value, path, unknown) if type(value) is list else None
            return free(value, path, unknown)

        return decode

    def _go_name(self, schema: Raw) -> str:
        reference = schema.get("$ref")
        if reference is not None:
            return ".".join(reference.rsplit(".", 2)[-2:])
        match schema.get("type"):
            case "array":
                return f"[]{self._go_name(schema['items'])}"
            case "boolean":
                return "bool"
            case "integer":
                return str(schema.get("format", "int64"))
            case "object" if "additionalProperties" in schema:
                return f"map[string]{self._go_name(schema['additionalProperties'])}"
            case other:
                return str(other)

    def _fillers(self, name: str, short: str) -> "_Fillers":
        schema = self._definitions[name]
        needed = schema.get("required", ())
        constants: dict[str, Any] = {
            field: inner["default"] for field, inner in schema.get("properties", {}).items() if "default" in inner
        }
        for field, by_root in schema.get("defaultIn", {}).items():
            if self._root in by_root:
                constants[field] = by_root[self._root]
        members = set(schema.get("properties", ())) - set(needed)
        return _Fillers(
            tuple((field, value, field in needed and type(value) is str) for field, value in constants.items()),
            tuple((field, value, frozenset(members)) for field, value in schema.get("defaultAlone", {}).items()),
            tuple(
                (field, rule["field"], rule["values"])
                for field, rule in schema.get("defaultBy", {}).items()
                if (short, field) not in _GIVEN_OUT
            ),
            COMPUTED_BY_OWNER.get(short, ())
            + (COMPUTED_BY_OWNER.get(f"root {short}", ()) if short == self._root else ()),
        )


class _Fillers:
    """The defaults of one structure, in the order in which they apply."""

    __slots__ = ("_alone", "_by", "_computed", "_constants", "empty")

    def __init__(
        self,
        constants: tuple[tuple[str, Any, bool], ...],
        alone: tuple[tuple[str, Any, frozenset[str]], ...],
        by: tuple[tuple[str, str, Mapping[str, Any]], ...],
        computed: tuple[Callable[[Raw], None], ...],
    ) -> None:
        self._constants = constants
        self._alone = alone
        self._by = by
        self._computed = computed
        self.empty = not (constants or alone or by or computed)

    def fill(self, obj: Raw) -> None:
        for field, value, always_there in self._constants:
            if field not in obj or (always_there and not obj[field]):  # Go: the empty string is "not set"
                obj[field] = fresh(value) if type(value) is dict or type(value) is list else value
        for field, value, members in self._alone:
            if members.isdisjoint(obj):
                obj[field] = fresh(value)
        for field, sibling, values in self._by:
            if field not in obj:
                chosen = values.get(obj.get(sibling, ""))
                if chosen is not None:
                    obj[field] = fresh(chosen)
        for compute in self._computed:
            compute(obj)


def fresh(value: Any) -> Any:
    """A copy of a default that the object may own."""
    if type(value) is dict:
        return {key: fresh(item) for key, item in value.items()}
    if type(value) is list:
        return [fresh(item) for item in value]
    return value


def _struct_decoder(short: str, entries: Mapping[str, Entry], fillers: _Fillers, always: Mapping[str, Any]) -> Decoder:
    fill = None if fillers.empty else fillers.fill
    known = entries.get

    def decode(obj: Any, path: Path, unknown: list[str]) -> Any:
        if type(obj) is not dict:
            _mismatch(Mismatch(scalars.json_word(obj)), path, short, short)
        changed: dict[str, Any] | None = None
        for field, value in obj.items():
            entry = known(field)
            if entry is None:
                unknown.append(plain_text_of((path, field)))
                result = None
            else:
                plain, decoder, struct = entry
                kind = type(value)
                if kind is plain and value:
                    continue
                if kind is dict and struct is not None:
                    struct(value, (path, field), unknown)  # in place, like all structures
                    continue
                result = None if value is None else decoder(value, (path, field), unknown)
                if result is value and value is not None:
                    continue
            if changed is None:
                changed = {}
            changed[field] = result
        if changed is not None:
            _put(obj, changed)
        if fill is not None:
            fill(obj)
        if always:
            for field, blank in always.items():
                obj.setdefault(field, blank)
        return obj

    return decode


def _put(obj: Raw, changed: Raw) -> None:
    """Set what was changed; None for what goes."""
    for field, value in changed.items():
        if value is None:
            del obj[field]
        else:
            obj[field] = value


def _array_decoder(item: Entry, owner: str, go_name: str, *, zero: Any, drop_empty: bool) -> Decoder:
    plain, decoder, struct = item

    def decode(value: Any, path: Path, unknown: list[str]) -> Any:
        if type(value) is not list:
            _mismatch(Mismatch(scalars.json_word(value)), path, owner, go_name)
        if drop_empty and not value:
            return None
        for index, element in enumerate(value):
            kind = type(element)
            if kind is plain:
                continue
            if kind is dict and struct is not None:
                struct(element, (path, index), unknown)
                continue
            if element is None:  # as Go: the zero value, with its defaults
                empty = fresh(zero)
                value[index] = decoder(empty, (path, index), unknown) if type(empty) is dict else empty
                continue
            result = decoder(element, (path, index), unknown)
            if result is not element:
                value[index] = result
        return value

    return decode


def _without_zero(entry: Entry) -> Entry:
    """A plain field that is no pointer in Go: false, 0 and the empty text are left out."""
    plain, decoder, _ = entry

    def decode(value: Any, path: Path, unknown: list[str]) -> Any:
        return None if type(value) is plain else decoder(value, path, unknown) or None

    return plain, decode, None


def _zero(schema: Raw) -> Any:
    """What Go reads a null as in a map of such values."""
    if schema.get("$ref", "").endswith(".Quantity"):
        return "0"
    if schema.get("$ref") == _EXTENSIONS + "JSON":
        return None
    return {"string": "", "integer": 0, "number": 0, "boolean": False, "array": []}.get(schema.get("type", ""), {})


def _map_decoder(item: Entry, owner: str, go_name: str, *, zero: Any, drop_empty: bool) -> Decoder:
    plain, decoder, _ = item

    def decode(value: Any, path: Path, unknown: list[str]) -> Any:
        if type(value) is not dict:
            _mismatch(Mismatch(scalars.json_word(value)), path, owner, go_name)
        if drop_empty and not value:
            return None
        changed: list[tuple[str, Any]] = []
        for key, element in value.items():
            if type(element) is plain:
                continue
            if element is None:  # as Go: the zero value
                changed.append((key, fresh(zero)))
                continue
            result = decoder(element, (path, Member(key)), unknown)
            if result is not element:
                changed.append((key, result))
        if changed:
            value.update(changed)
        return value

    return decode


def _leaf(scalar: Scalar, owner: str, go_name: str) -> Decoder:
    def decode(value: Any, path: Path, unknown: list[str]) -> Any:
        try:
            return scalar(value)
        except Mismatch as mismatch:
            _mismatch(mismatch, path, owner, go_name)

    return decode


def _with_owner(struct: Decoder, owner: str, go_name: str) -> Decoder:
    """A structure inside another: a wrong type is reported for the field of the outer one."""

    def decode(value: Any, path: Path, unknown: list[str]) -> Any:
        if type(value) is not dict:
            _mismatch(Mismatch(scalars.json_word(value)), path, owner, go_name)
        return struct(value, path, unknown)

    return decode


def _with_depth(struct: Decoder) -> Decoder:
    """A structure that may contain itself, with an end."""

    def decode(value: Any, path: Path, unknown: list[str]) -> Any:
        if len(steps_of(path)) > DEEPEST:
            raise BadRequest(f"the schema is nested deeper than {DEEPEST} levels: flatten it")
        return struct(value, path, unknown)

    return decode


def _free(value: Any, path: Path, unknown: list[str]) -> Any:
    """Any JSON, as long as it is not absurdly deep."""
    if type(value) is dict or type(value) is list:
        limit_depth(value, path)
    return value


def _mismatch(mismatch: Mismatch, path: Path, owner: str, go_name: str) -> NoReturn:
    if mismatch.text:
        raise BadRequest(mismatch.text)
    raise BadRequest(
        f"json: cannot unmarshal {mismatch.found} into Go struct field {owner}.{dotted(path)} of type {go_name}"
    )
