"""URLs: values and errors as Kubernetes has them."""

import pytest
from library_calls import problem_of, value_of

VALUES = [
    ("url('https://example.com:80/path/to?x=1&y=2&x=3#frag').getHost()", "example.com:80"),
    ("url('https://example.com:80/').getHostname()", "example.com"),
    ("url('https://example.com:80/').getPort()", "80"),
    ("url('https://example.com/').getPort()", ""),
    ("url('https://example.com:/').getPort()", ""),
    ("url('https://example.com:/').getHost()", "example.com:"),
    ("url('https://[::1]:80/').getHost()", "[::1]:80"),
    ("url('https://[::1]:80/').getHostname()", "::1"),
    ("url('https://[::1]:80/').getPort()", "80"),
    ("url('https://[::1%25eth0]/').getHostname()", "::1%eth0"),
    ("url('https://a:b:80/').getHost()", "a:b:80"),
    ("url('https://::1/').getHost()", "::1"),
    ("url('ftp://a:b:80/').getHost()", "a:b:80"),
    ("url('https://é.com/').getHost()", "é.com"),
    ("url('https://%C3%A9.com/').getHost()", "é.com"),
    ("url('https://a<b>\"c/').getHost()", 'a<b>"c'),
    ("url('https://user:pass@host/p').getHost()", "host"),
    ("url('https://us%20er@host/p').getHost()", "host"),
    ("url('https://user:pa:ss@host/p').getHost()", "host"),
    ("url('https://u@v@host/p').getHost()", "host"),
    ("url('https://host/a b').getEscapedPath()", "/a%20b"),
    ("url('https://host/a%20b').getEscapedPath()", "/a%20b"),
    ("url('https://host/a%2fb').getEscapedPath()", "/a%2fb"),
    ("url('https://host/é').getEscapedPath()", "/%C3%A9"),
    ("url('https://host/with?q').getEscapedPath()", "/with"),
    ("url('https://host/!$&()*+,;=:@[]').getEscapedPath()", "/!$&()*+,;=:@[]"),
    ("url('https://host/a\"b<c>').getEscapedPath()", "/a%22b%3Cc%3E"),
    ("url('https://host/%ff').getEscapedPath()", "/%ff"),
    ("url('https://host/~-_.').getEscapedPath()", "/~-_."),
    ("url('https://host/a%7eb').getEscapedPath()", "/a%7eb"),
    ("url('https://host').getEscapedPath()", ""),
    ("url('/path/only').getScheme()", ""),
    ("url('/path/only').getHost()", ""),
    ("url('//host/path').getHost()", "host"),
    ("url('///path').getEscapedPath()", "///path"),
    ("url('*').getEscapedPath()", "*"),
    ("url('HTTP://a').getScheme()", "http"),
    ("url('mailto:a@b.c').getScheme()", "mailto"),
    ("url('mailto:a@b.c').getHost()", ""),
    ("url('mailto:a@b.c').getEscapedPath()", ""),
    ("url('http:/a').getHost()", ""),
    ("url('http:/a').getEscapedPath()", "/a"),
    ("url('http://a?').getQuery()", {}),
    ("url('http://a/?a=1&b=2&a=3').getQuery()", {"a": ["1", "3"], "b": ["2"]}),
    ("url('http://a/?a=1;b=2&c').getQuery()", {"c": [""]}),
    ("url('http://a/?a+b=c%20d&%zz=1&=x&&e==f').getQuery()", {"": ["x"], "a b": ["c d"], "e": ["=f"]}),
    ("url('http://a/?q=é').getQuery()", {"q": ["é"]}),
    ("url('http://a/#f?x=1').getQuery()", {}),
    ("url('http://a/?x=1#f').getQuery()", {"x": ["1"]}),
    ("url('http://a/?x=1?y=2').getQuery()", {"x": ["1?y=2"]}),
    ("url('http://a/p#frag').getEscapedPath()", "/p"),
    ("url('http://a/p') == url('http://a/p')", True),
    ("url('http://a/p') == url('HTTP://a/p')", True),
    ("url('http://a/p?') == url('http://a/p')", False),
    ("url('http://a/p#') == url('http://a/p')", True),
    ("url('http://a/p') == url('http://a/q')", False),
    ("url('http://a/p%7e') == url('http://a/p~')", False),
    ("url('http://u:p@a/') == url('http://u:%70@a/')", True),
    ("dyn(1) == url('http://a/p')", False),
    ("url('http:///p') == url('http:/p')", False),
    ("isURL('https://example.com')", True),
    ("isURL('example')", False),
    ("isURL('/a')", True),
    ("isURL('')", False),
    ("isURL('https://a b')", False),
    ("isURL('http://a/#%zz')", False),
    ("url('http://a:99999/').getPort()", "99999"),
    ("url('http://[::ffff:1.2.3.4]/').getHost()", "[::ffff:1.2.3.4]"),
    ("url('http://[fe80::1%25en%200]:80/').getHost()", "[fe80::1%en 0]:80"),
    ("url('http://a%25b/').getHost()", "a%b"),
    ("url('x://?a=b').getQuery()", {"a": ["b"]}),
    ("url('http://host/a;b,c').getEscapedPath()", "/a;b,c"),
    ("url('http://host/a%3Bb').getEscapedPath()", "/a%3Bb"),
]
PROBLEMS = [
    (
        "url('https://[fe80::1%eth0]/')",
        'URL parse error during conversion from string: parse "https://[fe80::1%eth0]/": invalid URL escape "%et"',
    ),
    (
        "url('https://[::1]x/')",
        'URL parse error during conversion from string: parse "https://[::1]x/": invalid port "x" after host',
    ),
    (
        "url('https://[::1/')",
        "URL parse error during conversion from string: parse \"https://[::1/\": missing ']' in host",
    ),
    (
        "url('https://[1.2.3.4]/')",
        'URL parse error during conversion from string: parse "https://[1.2.3.4]/": invalid IP-literal',
    ),
    (
        "url('https://[zz]/')",
        'URL parse error during conversion from string: parse "https://[zz]/": invalid host: ParseAddr("zz"): unable to parse IP',
    ),
    (
        "url('https://[::1]:8a/')",
        'URL parse error during conversion from string: parse "https://[::1]:8a/": invalid port ":8a" after host',
    ),
    (
        "url('https://a[::1]/')",
        'URL parse error during conversion from string: parse "https://a[::1]/": invalid IP-literal',
    ),
    (
        "url('https://example.com:8a/')",
        'URL parse error during conversion from string: parse "https://example.com:8a/": invalid port ":8a" after host',
    ),
    (
        "url('https://a b/')",
        'URL parse error during conversion from string: parse "https://a b/": invalid character " " in host name',
    ),
    (
        "url('https://a%20b/')",
        'URL parse error during conversion from string: parse "https://a%20b/": invalid URL escape "%20"',
    ),
    (
        "url('https://a%zz/')",
        'URL parse error during conversion from string: parse "https://a%zz/": invalid URL escape "%zz"',
    ),
    (
        "url('https://%41.com/')",
        'URL parse error during conversion from string: parse "https://%41.com/": invalid URL escape "%41"',
    ),
    (
        "url('https://a\\\\b/')",
        'URL parse error during conversion from string: parse "https://a\\\\b/": invalid character "\\\\" in host name',
    ),
    (
        "url('https://a^b/')",
        'URL parse error during conversion from string: parse "https://a^b/": invalid character "^" in host name',
    ),
    (
        "url('https://us er@host/p')",
        'URL parse error during conversion from string: parse "https://us er@host/p": net/url: invalid userinfo',
    ),
    (
        "url('https://host/a%zzb')",
        'URL parse error during conversion from string: parse "https://host/a%zzb": invalid URL escape "%zz"',
    ),
    (
        "url('https://host/a%2').getEscapedPath()",
        'URL parse error during conversion from string: parse "https://host/a%2": invalid URL escape "%2"',
    ),
    ("url('path')", 'URL parse error during conversion from string: parse "path": invalid URI for request'),
    ("url('')", 'URL parse error during conversion from string: parse "": empty url'),
    ("url(':foo')", 'URL parse error during conversion from string: parse ":foo": missing protocol scheme'),
    (
        "url('1http://a')",
        'URL parse error during conversion from string: parse "1http://a": invalid URI for request',
    ),
    (
        "url('ht_tp://a')",
        'URL parse error during conversion from string: parse "ht_tp://a": invalid URI for request',
    ),
    (
        "url('http://a/#%zz')",
        'URL parse error during conversion from string: parse "http://a/#%zz": invalid URL escape "%zz"',
    ),
    (
        "url('http://a#frag').getHost()",
        'URL parse error during conversion from string: parse "http://a#frag": invalid character "#" in host name',
    ),
    ("url('http://a/p') == dyn(1)", "no such overload"),
    (
        "url('http://a%3ab/').getHost()",
        'URL parse error during conversion from string: parse "http://a%3ab/": invalid URL escape "%3a"',
    ),
    (
        "url('x://a:b')",
        'URL parse error during conversion from string: parse "x://a:b": invalid port ":b" after host',
    ),
]


@pytest.mark.parametrize(("expression", "wanted"), VALUES)
def test_a_call_gives_what_kubernetes_gives(expression: str, wanted: object) -> None:
    found = value_of(expression)
    assert (type(found), found) == (type(wanted), wanted)


@pytest.mark.parametrize(("expression", "problem"), PROBLEMS)
def test_a_call_fails_in_the_words_of_kubernetes(expression: str, problem: str) -> None:
    assert problem_of(expression) == problem
