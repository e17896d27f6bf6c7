"""A part of the wrong manifests of our kinds over HTTP: the whole server answers as its schemas do."""

from typing import Any

from tensorfusion.model.crd import KINDS, all_crds
from tensorfusion.testing.bad_manifests import BadManifest, bad_manifests, good_manifest
from tensorfusion.testing.verdicts import verdict

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
STRICT = "fieldValidation=Strict&dryRun=All"
PART = 25


def collection(kind: str) -> str:
    resource = KINDS[kind].resource
    return resource.path("team" if resource.namespaced else "")


def difference(api: Any, bad: BadManifest) -> str | None:
    """How the server's answer differs from its schemas' verdict; None where it does not."""
    if bad.part == "status":
        path = f"{collection(bad.kind)}/x/status?{STRICT}"
        found = api("PATCH", path, {"status": bad.document.get("status")}, content_type="application/merge-patch+json")
    else:
        found = api("POST", f"{collection(bad.kind)}?{STRICT}", {**bad.document, "metadata": {"name": "another"}})
    causes = (found.body.get("details") or {}).get("causes") or []
    wanted = verdict(bad.document, part=bad.part)
    if bad.unknown:
        same = found.status in (400, 422) and f'unknown field "{bad.path}"' in found.message.replace("\\", "")
    else:
        fields = sorted(cause["field"] for cause in causes)
        same = (found.status, fields) == (wanted.code, wanted.fields)
    return None if same else f"{found.status}: {found.message}"


def test_the_server_answers_as_its_schemas_do(start_server, until) -> None:
    api = start_server().client
    api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})
    until(lambda: api("GET", "/api/v1/namespaces/team/serviceaccounts/default").status == 200)
    for definition in all_crds():
        api.create(CRDS, definition)
    for kind in KINDS:
        api.create(collection(kind), good_manifest(kind))
    cases = [bad for kind in KINDS for bad in bad_manifests(kind)][::PART]
    different = {
        f"{bad.kind} {bad.path} {bad.what}": said for bad in cases if (said := difference(api, bad)) is not None
    }
    assert different == {}
