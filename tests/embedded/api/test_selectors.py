"""Label and field selectors: what they match and what they refuse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.embedded.kinds import Kinds
from tensorfusion.embedded.objects import encode_object
from tensorfusion.embedded.options import ListOptions
from tensorfusion.embedded.reading import keep_of
from tensorfusion.embedded.selectors import from_object, parse_fields, parse_labels, predicate
from tensorfusion.embedded.store import ObjectKey, Record
from tensorfusion.errors import BadRequest


def record(labels: dict[str, str], fields: dict[str, str] | None = None, name: str = "a") -> Record:
    return Record(ObjectKey("pods", "ns", name), 1, "u", b"{}", labels, fields or {}, ())


@pytest.mark.parametrize(
    ("selector", "labels", "matches"),
    [
        ("a=b", {"a": "b"}, True),
        ("a==b", {"a": "c"}, False),
        ("a!=b", {}, True),
        ("a!=b", {"a": "b"}, False),
        ("a", {"a": ""}, True),
        ("!a", {"a": ""}, False),
        ("a in (b, c)", {"a": "c"}, True),
        ("a notin (b,c)", {"a": "c"}, False),
        ("a notin (b)", {}, True),
        ("a=b,c in (d),!e", {"a": "b", "c": "d"}, True),
        ("a=", {"a": ""}, True),
        ("a in ()", {"a": ""}, True),
        ("n>3", {"n": "4"}, True),
        ("n<3", {"n": "x"}, False),
        ("example.com/a=b", {"example.com/a": "b"}, True),
        ("in=b", {"in": "b"}, True),
    ],
)
def test_label_selectors_match_as_in_kubernetes(selector: str, labels: dict[str, str], matches: bool) -> None:
    assert parse_labels(selector).matches(labels) is matches


@pytest.mark.parametrize(
    "selector", ["a in (b", "!!a", "a b", "a=b c", ",", "a,", "a in b", "=b", "-a=b", "a=b/c", "n>x"]
)
def test_malformed_label_selectors_are_refused_in_one_line(selector: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_labels(selector)
    assert "\n" not in str(caught.value)


def test_an_object_selector_matches_like_its_text() -> None:
    terms = from_object({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "DoesNotExist"}]})
    assert terms.matches({"a": "b"})
    assert not terms.matches({"a": "b", "c": ""})


def test_field_selectors_read_the_record_and_its_place() -> None:
    keep = predicate("", "spec.nodeName=n1,metadata.name!=b", frozenset({"spec.nodeName", "metadata.name"}))
    assert keep is not None
    assert keep(record({}, {"spec.nodeName": "n1"}))
    assert not keep(record({}, {"spec.nodeName": "n1"}, name="b"))
    assert not keep(record({}))


def test_escaped_field_values_are_unescaped() -> None:
    assert parse_fields(r"a=b\,c\=d") == (("a", "b,c=d", True),)


def test_a_field_that_cannot_be_selected_by_is_refused() -> None:
    with pytest.raises(BadRequest, match=r"field label not supported: spec\.foo"):
        predicate("", "spec.foo=x", frozenset({"spec.nodeName"}))
    with pytest.raises(BadRequest, match=r"^no spec\.foo here$"):
        predicate("", "spec.foo=x", frozenset(), unknown="no {} here")


def test_an_empty_selector_keeps_everything() -> None:
    assert predicate("", "", frozenset()) is None


@given(st.text(max_size=40))
def test_any_text_parses_or_is_refused(text: str) -> None:
    for parse in (parse_labels, parse_fields):
        try:
            parse(text)
        except BadRequest as error:
            assert str(error)


def older(obj: dict[str, object]) -> Record:
    """As it was stored before objects could be selected by their fields."""
    stored = {"metadata": {"name": "a", "namespace": "ns"}, **obj}
    return Record(ObjectKey("any", "ns", "a"), 1, "u", encode_object(stored), {}, {}, ())


@pytest.mark.parametrize(
    ("plural", "obj", "selector"),
    [
        ("jobs.batch", {"status": {"succeeded": 2}}, "status.successful=2"),
        ("jobs.batch", {"status": {"succeeded": 2}}, "status.successful!=0"),
        ("jobs.batch", {}, "status.successful=0"),
        ("pods", {"spec": {"nodeName": "n"}}, "spec.nodeName=n,status.phase!=Running"),
        ("pods", {"spec": "not as it is now"}, "spec.nodeName="),
        ("events.events.k8s.io", {"involvedObject": {"kind": "Pod"}}, "regarding.kind=Pod"),
    ],
)
def test_fields_that_an_older_record_lacks_are_those_of_its_object(
    plural: str, obj: dict[str, object], selector: str
) -> None:
    plural, _, group = plural.partition(".")
    kind = Kinds.builtin().find(group, "v1", plural)
    keep = keep_of(kind, ListOptions(fields=selector))
    assert keep is not None
    assert keep(older(obj))
