"""Rules of Endpoints: every subset has addresses, that can be reached, and ports that can be told apart.

Source: kubernetes pkg/apis/core/validation (ValidateEndpoints), texts seen through a real server.
"""

from collections.abc import Sequence

from tensorfusion.embedded.schema.addresses import canonical_address
from tensorfusion.embedded.schema.builtin.services import IP_TEXT, not_outside
from tensorfusion.embedded.schema.names import label, subdomain
from tensorfusion.embedded.schema.path import Path, Problem
from tensorfusion.embedded.schema.words import REQUIRED, complain, required
from tensorfusion.model.meta import Raw

_ADDRESSES = ("addresses", "notReadyAddresses")


def check_endpoints(endpoints: Raw, old: Raw | None, problems: list[Problem]) -> None:
    for index, subset in enumerate(endpoints.get("subsets") or ()):
        at: Path = ((None, "subsets"), index)
        if not any(subset.get(field) for field in _ADDRESSES):
            text = required("must specify `addresses` or `notReadyAddresses`")
            problems.append(Problem(at, text, REQUIRED))
        for field in _ADDRESSES:
            _check_addresses(subset.get(field) or (), (at, field), problems)
        ports = subset.get("ports") or ()
        for number, port in enumerate(ports):
            name, at_name = port.get("name", ""), (((at, "ports"), number), "name")
            if name:
                complain(problems, at_name, name, label(name))
            elif len(ports) > 1:
                problems.append(Problem(at_name, required(), REQUIRED))


def _check_addresses(addresses: Sequence[Raw], path: Path, problems: list[Problem]) -> None:
    for index, address in enumerate(addresses):
        at: Path = (path, index)
        text = address.get("ip", "")
        if canonical_address(text) is None:
            complain(problems, (at, "ip"), text, [IP_TEXT, "must be a valid IP address"])
        else:
            complain(problems, (at, "ip"), text, not_outside(text))
        if address.get("hostname"):
            complain(problems, (at, "hostname"), address["hostname"], label(address["hostname"]))
        if "nodeName" in address:
            complain(problems, (at, "nodeName"), address["nodeName"], subdomain(address["nodeName"]))
