"""A model that says the same to the same: words that are a pure function of a key and their position.

A token is a word with the white space before it. So anybody can count the tokens of a text (``len(text.split())``),
and a text that was cut anywhere goes on exactly where it ended. Some words hold what is easily broken on the way:
quotes, backslashes, line ends, characters of two to four bytes.
"""

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

_PLAIN = """
    the a of and to in is on with as by for from at one two all more each when then so only such other time place work
    light water river stone house garden window morning evening year day word letter number answer question model
    token stream node device memory share small large early late slow fast first last
"""
_VOCABULARY: Final = (
    *_PLAIN.split(),
    *('"quoted"', "back\\slash", "naïve", "東京", "🙂", "\n*", "it's", "50%", "<tag>", "\n—"),
)
"""A byte of a digest picks one."""
_PIECES: Final = tuple(word if word.startswith("\n") else f" {word}" for word in _VOCABULARY)
_PICK: Final = tuple(_PIECES[byte % len(_PIECES)] for byte in range(256))
_BLOCK: Final = 64
_FIRST: Final = (0).to_bytes(8)
_TOKEN = re.compile(r"\s*\S+(?:\s+\Z)?|\s+\Z")


def count(text: str) -> int:
    """Its tokens."""
    return len(text.split())


def pieces_of(text: str) -> list[str]:
    """Its tokens, which together are the text; white space at its end belongs to the last one."""
    return _TOKEN.findall(text)


def key_of(weights: str, turns: Sequence[tuple[str, str]], seed: int) -> bytes:
    """What an answer depends on: who is asked, what was said before by whom, and the seed."""
    parts = [weights, str(seed)]
    for turn in turns:
        parts += turn
    return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def choice_key(key: bytes, number: int) -> bytes:
    """Of the further answers to the same."""
    return blake2b(key + number.to_bytes(4), digest_size=16).digest() if number else key


def natural_length(key: bytes) -> int:
    """Tokens after which it has said all: 8 to 64."""
    return 8 + key[0] % 57


def say(key: bytes, length: int) -> list[str]:
    """The first tokens of the answer."""
    if length <= _BLOCK:
        digest = blake2b(key + _FIRST, digest_size=_BLOCK).digest()
    else:
        blocks = range(-(-length // _BLOCK))
        digest = b"".join([blake2b(key + block.to_bytes(8), digest_size=_BLOCK).digest() for block in blocks])
    said = list(map(_PICK.__getitem__, digest[:length]))
    if said:
        said[0] = said[0].lstrip()
    return said


def rest(said: list[str], begun: str) -> list[str] | None:
    """What follows on ``begun`` of an answer, cut anywhere; None where the answer does not begin so."""
    if not "".join(said).startswith(begun):
        return None
    at = len(begun)
    for number, piece in enumerate(said):
        if at < len(piece):
            return [piece[at:], *said[number + 1 :]]
        at -= len(piece)
    return []
