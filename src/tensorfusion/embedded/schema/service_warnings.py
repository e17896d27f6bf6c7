"""What a server warns of in Services: fields that their type ignores.

Source: service warnings of Kubernetes 1.34, by behaviour.
"""

from tensorfusion.embedded.schema.addresses import canonical_address
from tensorfusion.model.meta import Raw

_IGNORED_BY_HEADLESS = ("loadBalancerIP", "externalIPs")


def service_warnings(service: Raw) -> list[str]:
    """The warnings about a valid Service."""
    spec = service.get("spec") or {}
    found = []
    if spec.get("clusterIP") == "None":
        found += [f"spec.{field} is ignored for headless services" for field in _IGNORED_BY_HEADLESS if spec.get(field)]
        if spec.get("sessionAffinity", "None") != "None":
            found.append("spec.SessionAffinity is ignored for headless services")
    if spec.get("externalName") and spec.get("type") != "ExternalName":
        found.append('spec.externalName is ignored when spec.type is not "ExternalName"')
    for number, address in enumerate(spec.get("externalIPs") or ()):
        better = canonical_address(address)
        if better is not None and better != address:
            why = f'non-standard IP address "{address}" will be considered invalid in a future Kubernetes release'
            found.append(f'spec.externalIPs[{number}]: {why}: use "{better}"')
    return found
