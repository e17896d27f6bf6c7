"""What the audit log says of requests to a whole server."""

import json
from pathlib import Path
from typing import Any

from tensorfusion.embedded.audit.policy import FILE

SECRET = "c2VjcmV0LXZhbHVl"
ALL = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n"


def events(data: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (data / "logs" / "audit.log").read_text().splitlines()]


def test_changes_are_written_with_who_what_and_what_came_of_it(start_server, tmp_path: Path) -> None:
    data = tmp_path / "audited"
    data.mkdir()
    (data / FILE).write_text(ALL)
    server = start_server(data)
    api = server.client
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"password": SECRET}}
    made = api("POST", "/api/v1/namespaces/default/secrets", body, user_agent="test/1")
    assert made.status == 201
    assert api("GET", "/api/v1/namespaces/default/secrets/none?pretty=1").status == 404
    assert api("GET", "/version", impersonate_user="eve").status == 200
    assert api("DELETE", "/api/v1/nodes/n", impersonate_user="eve").status == 403
    assert api.as_user("wrong")("GET", "/api/v1/pods").status == 401
    server.stop()
    text = (data / "logs" / "audit.log").read_text()
    assert SECRET not in text
    seen = {(event["verb"], event["requestURI"]): event for event in events(data)}
    created = seen["create", "/api/v1/namespaces/default/secrets"]
    assert created["user"]["username"] == "admin"
    assert created["userAgent"] == "test/1"
    assert created["objectRef"] == {"resource": "secrets", "namespace": "default", "apiVersion": "v1"}
    assert created["responseStatus"]["code"] == 201
    assert created["auditID"] == made.headers["Audit-Id"]
    assert created["annotations"] == {"authorization.k8s.io/decision": "allow"}
    assert seen["get", "/api/v1/namespaces/default/secrets/none?pretty=1"]["responseStatus"]["code"] == 404
    assert seen["get", "/version"]["impersonatedUser"]["username"] == "eve"
    assert seen["delete", "/api/v1/nodes/n"]["annotations"] == {"authorization.k8s.io/decision": "forbid"}
    refused = seen["list", "/api/v1/pods"]
    assert (refused["user"], refused["responseStatus"]["code"]) == ({}, 401)


def test_without_a_policy_nothing_is_written(start_server, tmp_path: Path) -> None:
    data = tmp_path / "silent"
    server = start_server(data)
    api = server.client
    assert api("GET", "/version").headers["Audit-Id"]
    server.stop()
    assert not (data / "logs").exists()
