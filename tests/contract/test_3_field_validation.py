"""Field validation, and the warnings that servers give. Numbers 382 to 399."""

from typing import Any

from asking import APPLY, MERGE, STRATEGIC, Answer, Api, config_map, deployment, pod
from behaviours import behaviour

VALIDATION = "API concepts: Validation for unrecognized or duplicate fields"
WARNINGS = "Warning: Helpful Warnings Ahead"
OBSERVED = "observed on 1.34.2"
WORDS = 'ConfigMap in version "v1" cannot be handled as a ConfigMap: '


def tried(api: Api, path: str, obj: Any) -> Answer:
    """The answer to a dry run of a create."""
    return api("POST", f"{path}?dryRun=All", obj)


def warned(answer: Answer) -> list[str]:
    assert answer.status in (200, 201), answer.body
    return [text.replace('\\"', '"') for text in answer.warnings]


@behaviour(382, "Unknown fields are dropped, with a warning for each unless it says otherwise", source=VALIDATION)
def test_warn(api: Api) -> None:
    obj = {**config_map("a", x="1"), "dota": {}}
    obj["metadata"]["extra"] = 1
    for query in ("", "&fieldValidation=Warn"):
        answer = api("POST", f"{api.core('configmaps')}?dryRun=All{query}", obj)
        assert warned(answer) == ['unknown field "dota"', 'unknown field "metadata.extra"'] or warned(answer) == [
            'unknown field "metadata.extra"',
            'unknown field "dota"',
        ]
        assert "dota" not in answer.body
        assert "extra" not in answer.body["metadata"]


@behaviour(383, "Ignore drops unknown fields without a word", source=VALIDATION)
def test_ignore(api: Api) -> None:
    answer = api("POST", f"{api.core('configmaps')}?fieldValidation=Ignore", {**config_map("a"), "dota": {}})
    assert (answer.status, answer.warnings) == (201, [])
    assert "dota" not in api.get(api.core("configmaps", "a"))


@behaviour(384, "Strict refuses unknown fields, naming all of them", source=VALIDATION)
def test_strict(api: Api) -> None:
    obj = {**config_map("a"), "dota": {}}
    obj["metadata"]["extra"] = 1
    answer = api("POST", f"{api.core('configmaps')}?fieldValidation=Strict", obj)
    answer.refused(400, "BadRequest")
    assert answer.body["message"].startswith(f"{WORDS}strict decoding error: unknown field ")
    assert all(name in answer.body["message"] for name in ('"dota"', '"metadata.extra"'))
    api("GET", api.core("configmaps", "a")).refused(404, "NotFound")


@behaviour(385, "Keys that come twice are warned of or refused, and the last one counts", source=VALIDATION)
def test_duplicates(api: Api) -> None:
    body = b'{"metadata":{"name":"a"},"data":{"x":"1","x":"2"}}'
    path = f"{api.core('configmaps')}?dryRun=All"
    answer = api("POST", path, body)
    assert warned(answer) == ['duplicate field "data.x"']
    assert answer.body["data"] == {"x": "2"}
    answer = api("POST", f"{path}&fieldValidation=Strict", body)
    answer.refused(400, "BadRequest", f'{WORDS}strict decoding error: duplicate field "data.x"')


@behaviour(386, "An unknown field is named by its path, with the indexes of lists", source=OBSERVED)
def test_paths(api: Api) -> None:
    obj = deployment("d", replicaz=1)
    obj["spec"]["template"]["spec"]["containers"].append({"name": "e", "image": "i:1", "imag": "x"})
    found = warned(tried(api, api.path("apps/v1", "deployments"), obj))
    assert set(found) == {'unknown field "spec.replicaz"', 'unknown field "spec.template.spec.containers[1].imag"'}


@behaviour(387, "Names of fields are compared letter by letter", source=VALIDATION)
def test_case(api: Api) -> None:
    answer = tried(api, api.core("configmaps"), {**config_map("a"), "Data": {"x": "1"}})
    assert warned(answer) == ['unknown field "Data"']
    assert "data" not in answer.body


@behaviour(388, "A value of another fieldValidation is refused", source="API reference: CreateOptions, fieldValidation")
def test_values(api: Api) -> None:
    for value in ("strict", "None"):
        answer = api("POST", f"{api.core('configmaps')}?fieldValidation={value}", config_map("a"))
        answer.refused(422, "Invalid", kind="CreateOptions", group="meta.k8s.io")
        assert answer.causes() == {("fieldValidation", "FieldValueNotSupported")}


@behaviour(389, "Replacements are validated as creations are", source=VALIDATION)
def test_update(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a"))
    path = api.core("configmaps", "a")
    assert warned(api("PUT", path, {**config_map("a"), "dota": 1})) == ['unknown field "dota"']
    answer = api("PUT", f"{path}?fieldValidation=Strict", {**config_map("a"), "dota": 1})
    answer.refused(400, "BadRequest", f'{WORDS}strict decoding error: unknown field "dota"')
    assert warned(api("PUT", f"{path}?fieldValidation=Ignore", {**config_map("a"), "dota": 1})) == []


@behaviour(390, "An unknown field in a patch is a warning, and with Strict 422", source=VALIDATION)
def test_patch(api: Api) -> None:
    api.create(api.core("configmaps"), config_map("a"))
    path = api.core("configmaps", "a")
    for content_type in (MERGE, STRATEGIC):
        answer = api("PATCH", path, {"dota": 1}, content_type=content_type)
        assert warned(answer) == ['unknown field "dota"']
        answer = api("PATCH", f"{path}?fieldValidation=Strict", {"dota": 1}, content_type=content_type)
        answer.refused(422, "Invalid")
        assert answer.causes() == {("patch", "FieldValueInvalid")}
        assert answer.body["message"].endswith('strict decoding error: unknown field "dota"')


@behaviour(391, "A key that an applied YAML document holds twice is warned of or refused by its line", source=OBSERVED)
def test_yaml_duplicates(api: Api) -> None:
    body = "apiVersion: v1\nkind: ConfigMap\ndata:\n  x: '1'\n  x: '2'\n"
    path = f"{api.core('configmaps', 'a')}?fieldManager=me&dryRun=All"
    text = f"{body}metadata:\n  name: a\n"
    answer = api("PATCH", path, text, content_type=APPLY)
    assert warned(answer) == ['line 5: key "x" already set in map']
    assert answer.body["data"] == {"x": "2"}
    answer = api("PATCH", f"{path}&fieldValidation=Strict", text, content_type=APPLY)
    answer.refused(400, "BadRequest")
    assert 'line 5: key "x" already set in map' in answer.body["message"]


@behaviour(392, "A created YAML document is validated as JSON is", source=VALIDATION)
def test_yaml(api: Api) -> None:
    path = f"{api.core('configmaps')}?dryRun=All"
    body = "metadata: {name: a}\ndota: 1\ndata: {x: 'v'}\n"
    answer = api("POST", path, body, content_type="application/yaml")
    assert (warned(answer), answer.body["data"]) == (['unknown field "dota"'], {"x": "v"})
    answer = api("POST", f"{path}&fieldValidation=Strict", body, content_type="application/yaml")
    answer.refused(400, "BadRequest", f'{WORDS}strict decoding error: unknown field "dota"')


@behaviour(393, "Values of another type are refused whatever fieldValidation says", source=VALIDATION)
def test_types(api: Api) -> None:
    path = api.path("apps/v1", "deployments")
    for value, found in (("3", "string"), (1.5, "number 1.5"), ([], "array")):
        answer = api("POST", f"{path}?fieldValidation=Ignore", deployment("d", replicas=value))
        why = f"json: cannot unmarshal {found} into Go struct field DeploymentSpec.spec.replicas of type int32"
        words = 'Deployment in version "v1" cannot be handled as a Deployment: '
        answer.refused(400, "BadRequest", words + why)


@behaviour(394, "Null is a field that is not there", source="API conventions: Serialization, null")
def test_null(api: Api) -> None:
    obj = deployment("d", replicas=None, minReadySeconds=None)
    obj["metadata"]["labels"] = None
    made = tried(api, api.path("apps/v1", "deployments"), obj).body
    assert made["spec"]["replicas"] == 1
    assert "minReadySeconds" not in made["spec"]
    assert "labels" not in made["metadata"]
    assert tried(api, api.core("configmaps"), {**config_map("a"), "data": {"x": None}}).body["data"] == {"x": ""}


@behaviour(395, "A Warning header has code 299, no agent, and quoted text", source=f"{WARNINGS}; RFC 7234 5.5")
def test_header(api: Api) -> None:
    answer = tried(api, api.core("configmaps"), {**config_map("a"), "dota": {}})
    assert answer.headers.get_all("Warning") == ['299 - "unknown field \\"dota\\""']


@behaviour(396, "Whoever uses a deprecated kind is warned", source=f"{WARNINGS}: Deprecation warnings")
def test_deprecated_kind(api: Api) -> None:
    text = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
    assert api("GET", api.core("endpoints")).warnings == [text]
    assert tried(api, api.core("endpoints"), {"metadata": {"name": "a"}}).warnings == [text]


@behaviour(397, "What a pod says twice, or in a way that is going away, is warned of", source=OBSERVED)
def test_pods(api: Api) -> None:
    api.eventually(lambda: api("GET", api.core("serviceaccounts", "default")).status == 200)
    obj = pod("p.q", nodeSelector={"beta.kubernetes.io/os": "linux"})
    obj["spec"]["containers"][0] |= {
        "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}],
        "ports": [{"containerPort": 80}, {"containerPort": 80, "name": "x"}],
        "resources": {"requests": {"memory": "100m"}},
    }
    one = "spec.containers[0]"
    about_name = (
        "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is "
        "recommended: [must not contain dots]"
    )
    assert set(warned(tried(api, api.core("pods"), obj))) == {
        about_name,
        'spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead',
        f'{one}.env[1]: hides previous definition of "A", which may be dropped when using apply',
        f"{one}.ports[1]: duplicate port definition with {one}.ports[0]",
        f'{one}.resources.requests[memory]: fractional byte value "100m" is invalid, must be an integer',
    }


@behaviour(398, "Templates of pods are warned of as pods are, when they are made or changed", source=OBSERVED)
def test_templates(api: Api) -> None:
    path = api.path("apps/v1", "deployments")
    obj = deployment("d.e", paused=True)
    obj["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "A"}, {"name": "A"}]
    about_name = (
        "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label "
        "is recommended: [must not contain dots]"
    )
    about_env = (
        'spec.template.spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using '
        "apply"
    )
    assert set(warned(api("POST", path, obj))) == {about_name, about_env}
    changed = api("PATCH", f"{path}/d.e", {"spec": {"minReadySeconds": 3}}, content_type=MERGE)
    assert about_env in warned(changed)
    assert warned(api("PATCH", f"{path}/d.e", {"metadata": {"labels": {"x": "y"}}}, content_type=MERGE)) == []


@behaviour(
    399, "YAML is read as by Go: y is true, 1e3 a number, 1:30 a text, the first document counts", source=OBSERVED
)
def test_yaml_values(api: Api) -> None:
    def read(text: str) -> Any:
        return api("POST", f"{api.core('configmaps')}?dryRun=All", text, content_type="application/yaml")

    for value, kind in (("y", "bool"), ("Off", "bool"), ("1e3", "number"), ("0o17", "number"), ("08", "number")):
        answer = read(f"metadata: {{name: a}}\ndata: {{x: {value}}}\n")
        answer.refused(400, "BadRequest")
        assert f"cannot unmarshal {kind} into Go struct field" in answer.body["message"]
    for value in ("1:30", "2001-01-01", "=", "0x", "1.2.3"):
        found = read(f"metadata: {{name: a}}\ndata: {{x: {value}}}\n")
        assert found.status == 201, found.body
        assert found.body["data"] == {"x": value}
    found = read("metadata: {name: a, labels: &l {x: z}, annotations: {<<: *l, q: r}}\n---\nkind: [\n")
    assert found.status == 201, found.body
    assert found.body["metadata"]["annotations"] == {"x": "z", "q": "r"}
    read("metadata: {name: a}\ndata: {x: .inf}\n").refused(400, "BadRequest")
