"""Rules of a pod's rarer fields: what it may see of its node, DNS, gates, claims, the contents of its volumes.

Source: kubernetes pkg/apis/core/validation, texts seen through a real server.
"""

import re
from collections.abc import Sequence

from tensorfusion.embedded.schema.addresses import canonical_address
from tensorfusion.embedded.schema.builtin.references import (
    OF_VOLUMES,
    check_amount,
    check_field,
    check_no_parent,
    check_relative,
)
from tensorfusion.embedded.schema.builtin.storage import check_driver
from tensorfusion.embedded.schema.names import qualified_name
from tensorfusion.embedded.schema.path import Path, Problem
from tensorfusion.embedded.schema.words import (
    DUPLICATE,
    FORBIDDEN,
    NOT_FOUND,
    NOT_SUPPORTED,
    REQUIRED,
    complain,
    duplicate,
    forbidden,
    invalid_value,
    required,
    shown,
    unsupported,
)
from tensorfusion.model.meta import Raw

_MOST_ID = 2147483647
_MOST_NAMESERVERS = 3
_MOST_SEARCHES = 32
_SYSCTL = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
_is_sysctl = re.compile(_SYSCTL).fullmatch
_SEARCH = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*"
_is_search = re.compile(_SEARCH).fullmatch
_SEARCH_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must "
    f"start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SEARCH}')"
)
_OF_LINUX = (
    *("appArmorProfile", "seLinuxOptions", "seccompProfile", "fsGroup", "fsGroupChangePolicy", "sysctls"),
    *("runAsUser", "runAsGroup", "supplementalGroups"),
)
"""Fields of a pod's security that mean nothing on Windows."""
_WITHOUT_USERS = (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC"))


def check_details(spec: Raw, path: Path, problems: list[Problem]) -> None:
    """Everything here that a spec has; most pods have nothing of it."""
    if spec.get("hostUsers") is False:
        for field, where in _WITHOUT_USERS:
            if spec.get(field):
                problems.append(Problem((path, where), forbidden("when `hostUsers` is false"), FORBIDDEN))
    if spec.get("os"):
        _check_system(spec, path, problems)
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        text = invalid_value(True, "ShareProcessNamespace and HostPID cannot both be enabled")
        problems.append(Problem(((path, "securityContext"), "shareProcessNamespace"), text))
    if spec.get("securityContext"):
        _check_pod_security(spec["securityContext"], (path, "securityContext"), problems)
    gates = spec.get("readinessGates") or ()
    wrong = {problem.path for problem in problems} if gates else ()
    for index, gate in enumerate(gates):
        name = gate.get("conditionType", "")
        at: Path = (((path, "readinessGates"), index), "conditionType")
        if at not in wrong:
            complain(problems, at, name, qualified_name(name))
    if spec.get("dnsConfig"):
        _check_dns(spec["dnsConfig"], (path, "dnsConfig"), problems)
        at_servers: Path = ((path, "dnsConfig"), "nameservers")
        if spec.get("dnsPolicy") != "None":  # only then there has to be one
            problems[:] = [one for one in problems if one.path != at_servers or one.reason != REQUIRED]
    if spec.get("resourceClaims"):
        _check_claims(spec["resourceClaims"], (path, "resourceClaims"), problems)


def _check_system(spec: Raw, path: Path, problems: list[Problem]) -> None:
    name = spec["os"].get("name", "")
    if name not in ("linux", "windows", ""):
        problems.append(Problem((path, "os"), unsupported(name, ("linux", "windows")), NOT_SUPPORTED))
    if name == "windows":
        text = forbidden("cannot be set for a windows pod")
        problems += [Problem((path, field), text, FORBIDDEN) for field in ("hostPID", "hostIPC") if spec.get(field)]
        context = spec.get("securityContext") or {}
        at: Path = (path, "securityContext")
        problems += [Problem((at, field), text, FORBIDDEN) for field in _OF_LINUX if context.get(field) is not None]


def _check_pod_security(context: Raw, path: Path, problems: list[Problem]) -> None:
    for index, group in enumerate(context.get("supplementalGroups") or ()):
        if not 0 <= group <= _MOST_ID:
            why = f"must be between 0 and {_MOST_ID}, inclusive"
            complain(problems, ((path, "supplementalGroups"), index), group, [why])
    names: set[str] = set()
    for index, sysctl in enumerate(context.get("sysctls") or ()):
        name = sysctl.get("name", "")
        at: Path = (((path, "sysctls"), index), "name")
        if name and not _is_sysctl(name):
            complain(problems, at, name, [f"must have at most 253 characters and match regex {_SYSCTL}"])
        elif name in names:
            problems.append(Problem(at, duplicate(name), DUPLICATE))
        names.add(name)
    check_profiles(context, path, problems)


def check_container_security(context: Raw, path: Path, problems: list[Problem]) -> None:
    check_profiles(context, path, problems)
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            problems.append(Problem(path, invalid_value(context, why)))
        if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            problems.append(Problem(path, invalid_value(context, why)))


def check_profiles(context: Raw, path: Path, problems: list[Problem]) -> None:
    """Profiles of seccomp and AppArmor."""
    for field, word in (("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")):
        profile = context.get(field)
        if profile and profile.get("type") == "Localhost" and not profile.get("localhostProfile"):
            text = required(f"must be set when {word} type is Localhost")
            problems.append(Problem(((path, field), "localhostProfile"), text, REQUIRED))
        elif profile and profile.get("type") != "Localhost" and profile.get("localhostProfile"):
            found = profile if field == "seccompProfile" else profile["localhostProfile"]
            why = f"can only be set when {word} type is Localhost"
            complain(problems, ((path, field), "localhostProfile"), found, [why])


def _check_dns(config: Raw, path: Path, problems: list[Problem]) -> None:
    servers = config.get("nameservers") or ()
    at: Path = (path, "nameservers")
    if len(servers) > _MOST_NAMESERVERS:
        complain(problems, at, servers, [f"must not have more than {_MOST_NAMESERVERS} nameservers"])
    for index, server in enumerate(servers):
        if canonical_address(server) is None:
            complain(problems, (at, index), server, ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"])
    searches = config.get("searches") or ()
    if len(searches) > _MOST_SEARCHES:
        complain(problems, (path, "searches"), searches, [f"must not have more than {_MOST_SEARCHES} search paths"])
    for index, search in enumerate(searches):
        if search != "." and not _is_search(search.removesuffix(".")):
            complain(problems, ((path, "searches"), index), search, [_SEARCH_TEXT])
    for index, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            problems.append(Problem(((path, "options"), index), required("must not be empty"), REQUIRED))


def _check_claims(claims: Sequence[Raw], path: Path, problems: list[Problem]) -> None:
    names: set[str] = set()
    for index, claim in enumerate(claims):
        at: Path = (path, index)
        name, given = claim.get("name", ""), claim.get("resourceClaimName")
        template = claim.get("resourceClaimTemplateName")
        if name and name in names:
            problems.append(Problem((at, "name"), duplicate(name), DUPLICATE))
        names.add(name)
        value = {"Name": name, "ResourceClaimName": given, "ResourceClaimTemplateName": template}
        if given and template:
            why = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            problems.append(Problem(at, invalid_value(value, why)))
        elif not given and not template:
            why = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            problems.append(Problem(at, invalid_value(value, why)))


def check_used_claims(used: Sequence[Raw], claims: Sequence[Raw], path: Path, problems: list[Problem]) -> None:
    """The claims that a container uses; ``claims`` are those of its pod."""
    names = [claim.get("name", "") for claim in claims]
    seen: set[str] = set()
    for index, use in enumerate(used):
        name, at = use.get("name", ""), (path, index)
        if not name:
            problems.append(Problem(at, required(), REQUIRED))
            continue
        if name in seen:
            problems.append(Problem(at, duplicate(name), DUPLICATE))
        seen.add(name)
        if name not in names:
            empty = "" if names else " which is empty"
            why = f"Not found: {shown(name)}: must be one of the names in pod.spec.resourceClaims{empty}"
            problems.append(Problem(at, why, NOT_FOUND))


def check_resize_policy(policies: Sequence[Raw], path: Path, problems: list[Problem]) -> None:
    seen: set[str] = set()
    for index, policy in enumerate(policies):
        resource, restart = policy.get("resourceName", ""), policy.get("restartPolicy", "")
        for value, supported in ((resource, ("cpu", "memory")), (restart, ("NotRequired", "RestartContainer"))):
            if not value:
                problems.append(Problem(path, required(), REQUIRED))
                break
            if value not in supported:
                problems.append(Problem(path, unsupported(value, supported), NOT_SUPPORTED))
        if resource and resource in seen:
            problems.append(Problem((path, index), duplicate(resource), DUPLICATE))
        seen.add(resource)


def check_volume_contents(volume: Raw, path: Path, problems: list[Problem]) -> None:
    """What a volume is made of."""
    for field in ("configMap", "secret"):
        for index, item in enumerate((volume.get(field) or {}).get("items") or ()):
            check_relative(item.get("path", ""), ((((path, field), "items"), index), "path"), problems)
    if volume.get("hostPath"):
        check_no_parent(volume["hostPath"].get("path", ""), ((path, "hostPath"), "path"), problems)
    if volume.get("emptyDir") and str(volume["emptyDir"].get("sizeLimit", "")).startswith("-"):
        text = forbidden("SizeLimit field must be a valid resource quantity")
        problems.append(Problem(((path, "emptyDir"), "sizeLimit"), text, FORBIDDEN))
    if "nfs" in volume and not (volume["nfs"].get("path") or "").startswith("/"):
        complain(problems, ((path, "nfs"), "path"), volume["nfs"].get("path", ""), ["must be an absolute path"])
    if "csi" in volume:
        check_driver(volume["csi"], (path, "csi"), problems)
    for item in (volume.get("downwardAPI") or {}).get("items") or ():
        _check_downward(item, (path, "downwardAPI"), problems)
    for index, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
        at: Path = (path, "projected")
        if len(source) > 1:
            text = forbidden("may not specify more than 1 volume type per source")
            problems.append(Problem(((at, "sources"), index), text, FORBIDDEN))
        if "serviceAccountToken" in source and not source["serviceAccountToken"].get("path"):
            problems.append(Problem((at, "path"), required(), REQUIRED))
        for item in (source.get("downwardAPI") or {}).get("items") or ():
            _check_downward(item, at, problems)


def _check_downward(item: Raw, path: Path, problems: list[Problem]) -> None:
    target = item.get("path", "")
    if not target:
        problems.append(Problem((path, "path"), required(), REQUIRED))
    else:
        check_relative(target, (path, "path"), problems)
    field, amount = item.get("fieldRef"), item.get("resourceFieldRef")
    if field is not None and amount is not None:
        why = "fieldRef and resourceFieldRef can not be specified simultaneously"
        complain(problems, path, "resource", [why])
    elif field is not None:
        check_field(field, OF_VOLUMES, (path, "fieldRef"), problems)
    elif amount is not None:
        check_amount(amount, (path, "resourceFieldRef"), problems, named=True)
    else:
        text = required("one of fieldRef and resourceFieldRef is required")
        problems.append(Problem(path, text, REQUIRED))
