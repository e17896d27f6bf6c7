"""How the parts of a line are spelled: names, tags, numbers, texts, so that nothing can be slipped in.

What the protocol has no spelling for is bent here, in one place, because whoever measures must not fail for it: a line
end or tab in a name or tag becomes a space, backslashes at its end go, a tag that is empty then is left out, and so is
a number that is not finite. Texts of fields are kept as they are, line ends too, up to ``MOST_TEXT`` characters.

Source: InfluxDB line protocol reference; the crate influxdb_line_protocol, which reads it in GreptimeDB: ``\\\\`` is a
backslash in names too, a name must not end with one, an exponent wants a sign and a decimal point before it.
"""

import re
from typing import Final

MOST_TEXT: Final = 16 << 10
"""Characters of a text, which are at most the 64 KiB that GreptimeDB takes of one."""
_BREAKS: Final = re.compile(r"[\t\n\r]")
_LEAST_PLAIN: Final = 1e-4
_MOST_PLAIN: Final = 1e16
"""Between these a float is written without exponent."""


def name(text: str) -> str:
    """A table, a column or the value of a tag, escaped; empty where nothing can be written."""
    if text.isalnum() and len(text) <= MOST_TEXT:
        return text
    text = _BREAKS.sub(" ", text[:MOST_TEXT]).rstrip("\\")
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    return text.replace(",", "\\,").replace("=", "\\=").replace(" ", "\\ ")


def quoted(text: str) -> str:
    """The text of a field, in quotes."""
    return '"' + text[:MOST_TEXT].replace("\\", "\\\\").replace('"', '\\"') + '"'


def number(value: float, before: str = "") -> str:
    """A float behind ``before``; empty where it is not finite."""
    if _LEAST_PLAIN <= value < _MOST_PLAIN or value == 0:
        return f"{before}{value}"
    if value - value != 0:  # infinite, or no number
        return ""
    digits = f"{value}"
    if "e" in digits and "." not in digits:
        digits = digits.replace("e", ".0e")
    return before + digits
