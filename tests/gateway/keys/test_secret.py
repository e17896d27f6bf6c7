"""Keys as texts: 256 random bits in base 62, and no way to print one by accident."""

import copy
import hashlib
import pickle
import re

import pytest

from tensorfusion.gateway.keys.secret import SHOWN, Secret, digest_of, new_secret


def test_a_key_is_the_prefix_and_256_bits_in_base_62() -> None:
    keys = {new_secret().reveal() for _ in range(200)}
    assert len(keys) == 200
    assert all(re.fullmatch(r"tf-[0-9A-Za-z]{43}", key) for key in keys)


def test_every_byte_of_the_random_number_is_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter([b"\0" * 32, b"\0" * 31 + b"\1", b"\xff" * 32])
    monkeypatch.setattr("secrets.token_bytes", lambda count: next(numbers))
    assert new_secret().reveal() == "tf-" + "0" * 43
    assert new_secret().reveal() == "tf-" + "0" * 42 + "1"
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    value = 0
    for digit in new_secret().reveal()[3:]:
        value = value * 62 + digits.index(digit)
    assert value == (1 << 256) - 1


def test_what_is_kept_is_its_sha_256() -> None:
    secret = new_secret()
    assert secret.digest() == hashlib.sha256(secret.reveal().encode()).digest() == digest_of(secret.reveal().encode())


def test_a_key_in_hand_shows_its_first_characters_only() -> None:
    secret = new_secret()
    for text in (repr(secret), str(secret), f"{secret}", f"{secret!r:>80}", repr([secret]), repr({"key": secret})):
        assert secret.reveal()[:SHOWN] in text
        assert secret.reveal()[: SHOWN + 1] not in text
    assert "hunter2" not in repr(Secret("hunter2-hunter2-hunter2"))


def test_a_key_in_hand_cannot_be_written_by_pickle() -> None:
    secret = new_secret()
    with pytest.raises(TypeError, match="not written anywhere"):
        pickle.dumps(secret)
    with pytest.raises(TypeError, match="not written anywhere"):
        copy.deepcopy(secret)
