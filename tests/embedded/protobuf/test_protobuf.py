"""Protobuf bodies: what the real kubectl sends, and any bytes at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.embedded.protobuf import decode_protobuf
from tensorfusion.errors import BadRequest


def field(number: int, value: bytes | int) -> bytes:
    """One protobuf field, written by hand: the encoder of this test shares nothing with the decoder."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def body(api_version: str, kind: str, message: bytes) -> bytes:
    type_meta = field(1, api_version.encode()) + field(2, kind.encode())
    return b"k8s\x00" + field(1, type_meta) + field(2, message)


def test_a_config_map_with_maps_and_bytes() -> None:
    metadata = field(1, b"settings") + field(11, field(1, b"team") + field(2, b"blue"))
    message = (
        field(1, metadata)
        + field(2, field(1, b"a") + field(2, b"1"))
        + field(3, field(1, b"b") + field(2, b"\x00\xff"))
    )
    assert decode_protobuf(body("v1", "ConfigMap", message)) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "settings", "labels": {"team": "blue"}},
        "data": {"a": "1"},
        "binaryData": {"b": "AP8="},
    }


def test_embedded_messages_quantities_and_ports_take_their_json_form() -> None:
    port = field(1, 0) + field(2, 8080)
    probe = field(1, field(2, field(1, b"/healthz") + field(2, port)))
    container = field(1, b"main") + field(8, field(2, field(1, b"cpu") + field(2, field(1, b"500m"))))
    container += field(10, probe)
    volume = field(1, b"tmp") + field(2, field(2, b""))
    pod = decode_protobuf(body("v1", "Pod", field(2, field(1, volume) + field(2, container))))
    (found,) = pod["spec"]["containers"]
    assert found["resources"] == {"requests": {"cpu": "500m"}}
    assert found["livenessProbe"] == {"httpGet": {"path": "/healthz", "port": 8080}}
    assert pod["spec"]["volumes"] == [{"name": "tmp", "emptyDir": {}}]


@pytest.mark.parametrize("wrong", [b"", b"{}", b"k8s\x00", b"k8s\x00\xff", body("v9", "Nothing", b"")])
def test_what_is_no_known_object_is_refused_in_one_line(wrong: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        decode_protobuf(wrong)
    assert "\n" not in str(refused.value)


@given(st.binary(max_size=300), st.sampled_from(["ConfigMap", "Pod", "Secret", "Event"]))
def test_any_bytes_decode_or_are_refused(noise: bytes, kind: str) -> None:
    try:
        decode_protobuf(body("v1", kind, noise))
    except BadRequest as error:
        assert "\n" not in str(error)
