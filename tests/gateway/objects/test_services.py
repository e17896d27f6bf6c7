"""Addresses in the words of the cluster, to the endpoints that stand behind them."""

from typing import Any

import msgspec
import pytest

from tensorfusion.gateway.objects.kinds import EndpointSlice, Service
from tensorfusion.gateway.objects.services import (
    MODELS,
    replicas_of_endpoint,
    replicas_of_pool,
    serves,
    service_named,
)


@pytest.mark.parametrize(
    ("endpoint", "found"),
    [
        ("http://llm:8000", ("red", "llm")),
        ("http://llm", ("red", "llm")),
        ("http://llm:8000/v1", ("red", "llm")),
        ("http://llm.blue.svc:8000", ("blue", "llm")),
        ("http://llm.blue.svc.cluster.local:8000", ("blue", "llm")),
        ("http://llm.blue.svc.cluster.local.:8000", ("blue", "llm")),
        ("http://llm.blue:8000", None),  # could be a machine of any domain
        ("http://api.example.com", None),
        ("https://llm.blue.svc", None),
        ("http://localhost:8000", None),
        ("http://127.0.0.1:8000", None),
        ("http://[::1]:8000", None),
        ("http://llm:port", None),
    ],
)
def test_which_service_an_address_means(endpoint: str, found: tuple[str, str] | None) -> None:
    assert service_named(endpoint, "red") == found


def service(
    name: str = "llm", *ports: dict[str, Any], annotations: dict[str, str] | None = None, **spec: Any
) -> Service:
    body = {
        "metadata": {"name": name, "namespace": "red", "annotations": annotations or {}},
        "spec": {"ports": list(ports) or [{"port": 80, "targetPort": 8000}], **spec},
    }
    return msgspec.convert(body, Service)


def slices(*endpoints: tuple[str, dict[str, bool] | None], port: int = 8000, name: str | None = None) -> EndpointSlice:
    body = {
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": said or {}} for address, said in endpoints],
        "ports": [{"name": name, "port": port}],
    }
    return msgspec.convert(body, EndpointSlice)


READY, NOT_READY = {"ready": True}, {"ready": False}
LEAVING = {"ready": False, "serving": True, "terminating": True}


def test_ready_endpoints_are_replicas_each_once_with_the_rest_of_the_url() -> None:
    behind = [
        slices(("10.0.0.2", READY), ("10.0.0.3", NOT_READY), ("10.0.0.4", LEAVING)),
        slices(("10.0.0.1", None), ("10.0.0.2", READY)),
    ]
    found = replicas_of_endpoint("http://llm/v1?a=b", service(), behind)
    assert found == ("http://10.0.0.1:8000/v1?a=b", "http://10.0.0.2:8000/v1?a=b")


def test_a_port_is_the_one_of_its_name() -> None:
    two = service("llm", {"name": "http", "port": 80}, {"name": "metrics", "port": 90})
    behind = [slices(("10.0.0.1", READY), name="metrics", port=9000), slices(("10.0.0.1", READY), name="http")]
    assert replicas_of_endpoint("http://llm:90", two, behind) == ("http://10.0.0.1:9000",)
    with pytest.raises(ValueError, match="Service red/llm has no port 8000: it has 80, 90"):
        replicas_of_endpoint("http://llm:8000", two, behind)


def test_a_headless_service_has_the_ports_of_its_endpoints() -> None:
    headless = service("llm", {"port": 80}, clusterIP="None")
    assert replicas_of_endpoint("http://llm:8001", headless, [slices(("10.0.0.1", READY))]) == ("http://10.0.0.1:8001",)


def test_nobody_who_takes_requests_is_told() -> None:
    ended = {"ready": False, "serving": False, "terminating": True}
    with pytest.raises(ValueError, match=r"has no ready endpoint \(2 not ready\)"):
        replicas_of_endpoint("http://llm", service(), [slices(("10.0.0.1", NOT_READY), ("10.0.0.2", ended))])
    with pytest.raises(ValueError, match=r"has no ready endpoint$"):
        replicas_of_endpoint("http://llm", service(), [])


def test_those_that_leave_and_still_serve_are_better_than_nobody() -> None:
    leaving = [slices(("10.0.0.1", NOT_READY), ("10.0.0.2", LEAVING))]
    assert replicas_of_endpoint("http://llm", service(), leaving) == ("http://10.0.0.2:8000",)
    one, two = service("one"), service("two")
    assert replicas_of_pool("l4", "m", "red", [(one, leaving), (two, leaving)]) == ("http://10.0.0.2:8000",)
    ready = [slices(("10.0.0.3", READY))]
    assert replicas_of_pool("l4", "m", "red", [(one, leaving), (two, ready)]) == ("http://10.0.0.3:8000",)


def test_a_name_for_something_outside_is_left_to_dns() -> None:
    assert replicas_of_endpoint("http://llm", service(type="ExternalName"), []) == ()


def test_addresses_of_version_6_are_written_as_urls_want_them() -> None:
    six = msgspec.structs.replace(slices(("fd00::1", READY)), address_type="IPv6")
    names = msgspec.structs.replace(slices(("a.example", READY)), address_type="FQDN")
    assert replicas_of_endpoint("http://llm", service(), [six, names]) == ("http://[fd00::1]:8000",)


def test_a_pool_is_its_services_that_serve_the_model() -> None:
    both = service("both", annotations={MODELS: "m, n"})
    every = service("every", {"name": "metrics", "port": 9}, {"name": "http", "port": 80})
    other = service("other", annotations={MODELS: "n"})
    assert [serves(one, "m") for one in (both, every, other)] == [True, True, False]
    behind = [
        (both, [slices(("10.0.0.1", READY))]),
        (every, [slices(("10.0.0.2", READY), name="http", port=80)]),
        (other, [slices(("10.0.0.3", READY))]),
    ]
    assert replicas_of_pool("l4", "m", "red", behind) == ("http://10.0.0.1:8000", "http://10.0.0.2:80")
    with pytest.raises(ValueError, match=r"namespace red has no Service with the label tensor-fusion\.ai/gpupool: l4"):
        replicas_of_pool("l4", "m", "red", behind[2:])
    with pytest.raises(ValueError, match="GPUPool l4: Service red/both has no ready endpoint"):
        replicas_of_pool("l4", "m", "red", [(both, [])])
    unnamed = service("unnamed", {"name": "a", "port": 1}, {"name": "b", "port": 2})
    with pytest.raises(ValueError, match="wanted one of them to be named http"):
        replicas_of_pool("l4", "m", "red", [(unnamed, [slices(("10.0.0.1", READY))])])
