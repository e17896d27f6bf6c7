"""YAML bodies: as Go reads them, and never larger or deeper than what may be held."""

import time

import pytest

from tensorfusion.embedded.yaml_bodies import BadYaml, load_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("y", True),
        ("OFF", False),
        ("~", None),
        ("", None),
        ("0777", 511),
        ("0x1F", 31),
        ("-0b11", -3),
        ("1_000", 1000),
        ("1e3", 1000),
        ("-2.5E-1", -0.25),
        ("08", 8),
        (".5", 0.5),
        ("18446744073709551615", 18446744073709551615),
        ("18446744073709551616", 18446744073709551616),
        ("1:30", "1:30"),
        ("1e999", "1e999"),
        ("2001-01-01", "2001-01-01"),
        ("1.2.3", "1.2.3"),
        ("-", None),
        ("!!str 5", "5"),
        ("!own {a: 1}", {"a": 1}),
        ("!!binary aGk=", "hi"),
        ("{y: 1, 2: 3}", {"true": 1, "2": 3}),
        ("a: &x {b: 1}\nc: {<<: *x, d: *x}", {"a": {"b": 1}, "c": {"b": 1, "d": {"b": 1}}}),
        ("a: 1\n---\nb: [", {"a": 1}),
    ],
)
def test_a_value_is_read_as_go_reads_it(text: str, value: object) -> None:
    if text == "-":
        value = [None]
    found, twice = load_yaml(text.encode())
    assert (found, type(found), twice) == (value, type(value), [])


def test_keys_that_come_twice_are_named_by_their_line_but_not_those_of_merged_maps() -> None:
    found, twice = load_yaml(b"a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  b: 3\n  b: 4\n")
    assert found["d"] == {"b": 4, "c": 2}
    assert twice == ['line 5: key "b" already set in map']


def test_few_letters_cannot_stand_for_a_huge_value() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    started = time.monotonic()
    with pytest.raises(BadYaml, match="excessive aliasing"):
        load_yaml("\n".join(lines).encode())
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("text", ["a: &x [*x]", "[" * 200, "a: .nan", "a: [", "{[1]: 2}", "\ta: b", "a: *nobody"])
def test_what_has_no_place_in_json_is_refused(text: str) -> None:
    with pytest.raises(BadYaml):
        load_yaml(text.encode())


def test_a_large_document_without_aliases_is_read() -> None:
    found, _ = load_yaml(f"[{','.join(['1'] * 250_000)}]".encode())
    assert len(found) == 250_000
