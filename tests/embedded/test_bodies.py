"""Request bodies before anything knows what they should be."""

import pytest

from tensorfusion.embedded.bodies import decode_json
from tensorfusion.errors import BadRequest


@pytest.mark.parametrize(
    ("size", "words"), [(1 << 10, "invalid character 'x' after array element"), (65 << 10, "JSON is malformed")]
)
def test_only_a_short_body_is_read_again_for_better_words(size: int, words: str) -> None:
    body = b"[" + b"1," * (size // 2) + b"1x"
    with pytest.raises(BadRequest, match=words):
        decode_json(body, "Pod")
