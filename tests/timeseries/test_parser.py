"""Line protocol is read strictly: everything that is not well formed is named with its line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.timeseries import parser
from tensorfusion.timeseries.errors import LineError
from tensorfusion.timeseries.parser import PRECISIONS, parse
from tensorfusion.timeseries.points import Point, Unsigned


def test_the_kinds_of_values_are_told_apart() -> None:
    (point,) = parse('t a=1i,b=2u,c=3,d=-4.5e-3,e=true,f=F,g="x, y=z",h=.5,i=1.')
    assert point.fields == {
        "a": 1,
        "b": Unsigned(2),
        "c": 3.0,
        "d": -0.0045,
        "e": True,
        "f": False,
        "g": "x, y=z",
        "h": 0.5,
        "i": 1.0,
    }
    assert type(point.fields["a"]) is int
    assert type(point.fields["b"]) is Unsigned
    assert type(point.fields["c"]) is float


def test_comments_and_empty_lines_are_passed_over() -> None:
    assert [point.table for point in parse("# a comment, b=c\n\n  \na x=1 1\n# another\nb x=1 2\n   # end")] == [
        "a",
        "b",
    ]


def test_a_text_may_hold_line_ends() -> None:
    first, second = parse('a x="one\ntwo" 1\nb x=1 2')
    assert first.fields["x"] == "one\ntwo"
    assert second.table == "b"


def test_escapes_are_taken_from_names_and_other_backslashes_stay() -> None:
    (point,) = parse(r'a\ b\,c,t\=1=x\ y\\z,u=q\w f\ g=1,h="a\"b\\c\d"')
    assert point.table == "a b,c"
    assert point.tags == {"t=1": r"x y\z", "u": r"q\w"}
    assert point.fields == {"f g": 1.0, "h": r'a"b\c\d'}


def test_a_time_is_ns_in_every_precision() -> None:
    for name, unit in PRECISIONS.items():
        assert parse("a x=1 -7", precision=name) == [Point("a", {}, {"x": 1.0}, -7 * unit)]


def test_a_line_without_a_time_has_that_of_its_arrival() -> None:
    assert [point.time for point in parse("a x=1\na x=1 5", now=99)] == [99, 5]


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="precision: wanted one of n, ns, u, us, ms, s, m, h, found 'minutes'"):
        parse("", precision="minutes")


@pytest.mark.parametrize(
    ("text", "line", "wanted", "found"),
    [
        ("a", 1, "a space and at least one field", "the end of the line"),
        ("a ", 1, "a field like gpu_count=1i", "the end of the line"),
        ("a b", 1, "a field like gpu_count=1i", "'b'"),
        ("a=b c=1", 1, "the name of a table", "'a=b c=1'"),
        (",x=1 c=1", 1, "the name of a table", "',x=1 c=1'"),
        ("ok x=1\n\na b=1x 5", 3, "a value of the field b", "'1x 5'"),
        ("a,b c=1", 1, "a tag like node=n1", "'b c=1'"),
        ("a,b= c=1", 1, "a value of the tag b", "' c=1'"),
        ("a,b=c=d e=1", 1, "a value of the tag b", "'c=d e=1'"),
        ("a,b=c,b=d c=1", 1, "the tag b once", "'b=d c=1'"),
        ("a c=1,c=2", 1, "the field c once", "'c=2'"),
        ("a c=1,", 1, "a field like gpu_count=1i", "the end of the line"),
        ("a c=1 x", 1, "a timestamp of digits", "'x'"),
        ("a c=1 1 2", 1, "a timestamp of digits", "'1 2'"),
        ("a c=1 1.5", 1, "a timestamp of digits", "'1.5'"),
        ("a c=nan", 1, "a value of the field c", "'nan'"),
        ("a c=+1", 1, "a value of the field c", "'+1'"),
        ("a c=1_0", 1, "a value of the field c", "'1_0'"),
        ("a c=1e999", 1, "a finite number for the field c", "'c=1e999'"),
        ("a c=9223372036854775808i", 1, "an integer that fits 64 bits", "'c=9223372036854775808i'"),
        ("a c=18446744073709551616u", 1, "at most 18446744073709551615", "'c=18446744073709551616u'"),
        ("a c=-1u", 1, "a value of the field c", "'-1u'"),
        ("a c=1 9223372036854775808", 1, "a timestamp that fits 64 bits", "'9223372036854775808'"),
        ('a c="x', 1, "a value of the field c", "'\"x'"),
        ('a c="x"y', 1, "a value of the field c", "'\"x\"y'"),
        ("a c=1\r\nb c=1", 1, "a value of the field c", r"'1\r'"),
        ("a,x=y\\\\ c=1", 1, "a name or value that does not end with a backslash", r"'y\\\\ c=1'"),
        ("a\tb=1", 1, "a space and at least one field", r"'\tb=1'"),
    ],
)
def test_a_bad_line_is_named_with_what_was_wanted(text: str, line: int, wanted: str, found: str) -> None:
    with pytest.raises(LineError) as caught:
        parse(text)
    assert caught.value.line == line
    assert caught.value.wanted.startswith(wanted)
    assert caught.value.found == found


def test_thousands_of_digits_are_refused_like_any_number_that_is_too_large() -> None:
    digits = "9" * 6000
    for text in (f"a c={digits}i", f"a c={digits}u", f"a c=1 {digits}", f"a c={digits}"):
        with pytest.raises(LineError):
            parse(text)


def test_texts_and_heads_have_a_bound() -> None:
    with pytest.raises(LineError, match="a text of at most 65536 characters in the field s"):
        parse(f'a s="{"x" * 70_000}"')
    with pytest.raises(LineError, match="of at most 65536 characters"):
        parse(f"a,t={'x' * 70_000} s=1")


def test_a_time_that_fits_only_in_its_own_precision_is_refused() -> None:
    with pytest.raises(LineError, match="a timestamp that fits 64 bits in ns"):
        parse("a c=1 9223372036854775", precision="ms")


pieces = st.sampled_from(
    [
        "a",
        "b",
        "a=",
        "b=",
        "1",
        "-",
        ".",
        "5",
        "e",
        "+",
        "i",
        "u",
        "t",
        "true",
        "false",
        ",",
        ",",
        " ",
        "\n",
        "\t",
        "\u0661",
        "_",
        "9" * 19,
        "nan",
    ]
)


@given(st.lists(pieces, max_size=14).map("".join), st.sampled_from(["ns", "ms"]))
def test_the_short_way_reads_what_the_long_way_reads(text: str, precision: str) -> None:
    whole = f"t a=1,b=2i\nt {text}\nt a=1"

    def read() -> object:
        try:
            return [
                (repr(point), [type(value) for value in point.fields.values()])
                for point in parse(whole, precision=precision, now=7)
            ]
        except LineError as error:
            return str(error)

    short = read()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parser, "_plain_fields", lambda *_: None)
        assert read() == short


@given(st.text(st.sampled_from('ab,= "\\\n\t#1iut.e-'), max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        points = parse(text, now=1)
    except LineError as error:
        assert 1 <= error.line <= text.count("\n") + 1
    else:
        assert all(point.table and point.fields for point in points)
