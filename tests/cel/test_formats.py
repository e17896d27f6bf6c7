"""Named formats: values and errors as Kubernetes has them."""

import pytest
from library_calls import problem_of, value_of

from tensorfusion.cel.values import NOTHING, Some

VALUES = [
    ("format.dns1123Label().validate('my-name')", NOTHING),
    ("format.dns1123Label().validate('my.name')", Some(["must not contain dots"])),
    ("format.dns1123LabelPrefix().validate('my-name-')", NOTHING),
    ("format.dns1123LabelPrefix().validate('a-')", NOTHING),
    ("format.dns1123LabelPrefix().validate('.-')", NOTHING),
    ("format.dns1123Subdomain().validate('apiextensions.k8s.io')", NOTHING),
    ("format.dns1123SubdomainPrefix().validate('a.b-')", NOTHING),
    ("format.dns1035Label().validate('a1')", NOTHING),
    ("format.dns1035LabelPrefix().validate('a1-')", NOTHING),
    ("format.qualifiedName().validate('example.com/MyName')", NOTHING),
    ("format.qualifiedName().validate('/MyName')", Some(["prefix part must be non-empty"])),
    ("format.labelValue().validate('')", NOTHING),
    ("format.labelValue().validate('a_b.c')", NOTHING),
    ("format.uri().validate('http://example.com')", NOTHING),
    ("format.uri().validate('example')", Some(['parse "example": invalid URI for request'])),
    ("format.uri().validate('http://a b')", Some(['parse "http://a b": invalid character " " in host name'])),
    ("format.uuid().validate('123e4567-e89b-12d3-a456-426614174000')", NOTHING),
    ("format.uuid().validate('123E4567e89b12d3a456426614174000')", NOTHING),
    ("format.uuid().validate('123e4567')", Some(["does not match the UUID format"])),
    ("format.byte().validate('aGVsbG8=')", NOTHING),
    ("format.byte().validate('aGVsbG8')", Some(["invalid base64"])),
    ("format.byte().validate('')", Some(["invalid base64"])),
    ("format.byte().validate('aGVs')", NOTHING),
    ("format.date().validate('2021-01-01')", NOTHING),
    ("format.date().validate('2021-02-29')", Some(["invalid date"])),
    ("format.date().validate('2020-02-29')", NOTHING),
    ("format.date().validate('0000-02-29')", NOTHING),
    ("format.date().validate('2021-1-1')", Some(["invalid date"])),
    ("format.date().validate('2021-01-01T')", Some(["invalid date"])),
    ("format.datetime().validate('2021-01-01T00:00:00Z')", NOTHING),
    ("format.datetime().validate('2021-01-01t00:00:00.123z')", NOTHING),
    ("format.datetime().validate('2021-01-01T00:00:00x5z')", NOTHING),
    ("format.datetime().validate('2021-01-01T00:00:00+01:00')", NOTHING),
    ("format.datetime().validate('2021-01-01T00:00:00+99:99')", NOTHING),
    ("format.datetime().validate('2021-01-01T24:00:00Z')", Some(["invalid datetime"])),
    ("format.datetime().validate('2021-01-01T00:00:60Z')", Some(["invalid datetime"])),
    ("format.datetime().validate('2021-01-01T00:00:00ZT')", NOTHING),
    ("format.datetime().validate('2021-01-01 00:00:00Z')", Some(["invalid datetime"])),
    ("format.datetime().validate('2021-01-01')", Some(["invalid datetime"])),
    ("format.datetime().validate('T')", Some(["invalid datetime"])),
    ("format.date() == format.datetime()", False),
]
PROBLEMS = [
    ("format.date() == dyn(1)", "no such overload"),
]


@pytest.mark.parametrize(("expression", "wanted"), VALUES)
def test_a_call_gives_what_kubernetes_gives(expression: str, wanted: object) -> None:
    found = value_of(expression)
    assert (type(found), found) == (type(wanted), wanted)


@pytest.mark.parametrize(("expression", "problem"), PROBLEMS)
def test_a_call_fails_in_the_words_of_kubernetes(expression: str, problem: str) -> None:
    assert problem_of(expression) == problem
