"""The scheduler over HTTP: simulate, allocation, explain, decisions."""

import asyncio
import json
import threading
from typing import Any

import pytest
from bare_http import Http, anybody, nobody, unchanged
from starlette.applications import Starlette
from starlette.requests import Request

from fingerprints import fingerprint
from tensorfusion.cli.simulate import lines
from tensorfusion.errors import Forbidden, InvalidRequest, TooManyRequests
from tensorfusion.model import keys
from tensorfusion.model.meta import Key
from tensorfusion.model.resources import PODS
from tensorfusion.scheduler import meters
from tensorfusion.scheduler import simulate as simulating
from tensorfusion.scheduler.advice import BURST, Budget
from tensorfusion.scheduler.routes import routes
from tensorfusion.scheduler.simulate import MOST_TERMS, Simulator
from tensorfusion.scheduler.what_if import Question

POD = """
apiVersion: v1
kind: Pod
metadata:
  name: test-pod
  namespace: default
  labels:
    tensor-fusion.ai/component: worker
  annotations:
    tensor-fusion.ai/gpupool: main
    tensor-fusion.ai/tflops-request: "{tflops}"
    tensor-fusion.ai/vram-request: "1Gi"
spec:
  schedulerName: {scheduler}
  containers:
  - name: test-container
    image: nvidia/cuda
"""


def pod(tflops: str = "10", scheduler: str = keys.SCHEDULER_NAME) -> str:
    return POD.format(tflops=tflops, scheduler=scheduler)


@pytest.fixture
async def http(world) -> Http:
    world.fleet(nodes=2, devices=2, tflops="100")
    await world.start()
    return Http(Starlette(routes=routes(world.service, admission=unchanged, authorize=anybody)))


async def test_a_pod_that_fits_is_told_where_and_why_and_nothing_changes(world, http) -> None:
    status, answer = await http.call("POST", "/api/simulate-schedule", pod(), "application/yaml")
    assert status == 200
    assert answer["error"] is None
    assert answer["scheduleResult"] == {"SuggestedHost": "n0", "EvaluatedNodes": 2, "FeasibleNodes": 2}
    stages = answer["filterDetail"]["FilterStageDetails"]
    assert stages[0]["FilterName"]
    assert set(stages[-1]["After"]) == {"g0-0", "g0-1", "g1-0", "g1-1"}
    assert all(stage["Diff"] == len(stage["Before"]) - len(stage["After"]) for stage in stages)
    gpus = answer["gpuSchedulerState"]
    assert gpus["FinalGPUs"] == ["g0-0"]
    assert [gpu["metadata"]["name"] for gpu in gpus["NodeGPUs"]["n1"]] == ["g1-0", "g1-1"]
    assert set(gpus["ValidNodeGPUScore"]["n0"]) == {"g0-0", "g0-1"}
    assert gpus["IsPreemption"] is False
    assert answer["progressiveNodeNames"] is None
    await world.settle(5)
    assert not world.service.state.allocations
    assert world.bindings() == []
    assert len(world.service.book.queue) == 0


async def test_the_content_type_is_not_looked_at(http) -> None:
    as_json = json.dumps(
        {"metadata": {"name": "a"}, "spec": {"schedulerName": "default-scheduler", "containers": [{}]}}
    )
    for body, kind in ((as_json, "application/yaml"), (pod(), "application/json"), (pod(), "")):
        status, answer = await http.call("POST", "/api/simulate-schedule", body, kind)
        assert (status, answer["error"]) == (200, None)


async def test_a_pod_that_does_not_fit_is_an_answer_with_an_error_inside(http) -> None:
    status, answer = await http.call("POST", "/api/simulate-schedule", pod(tflops="200"))
    assert status == 200
    error = answer["error"]
    assert answer["scheduleResult"]["SuggestedHost"] == ""
    assert error["type"] == "FitError"
    assert "4 devices: not enough compute" in error["message"]
    assert error["numAllNodes"] == 2
    diagnosis = error["diagnosis"]
    assert diagnosis["unschedulablePlugins"] == ["GPUResourcesFit"]
    assert diagnosis["nodeToStatus"]["nodes"]["n1"]["reasons"] == ["not enough compute"]


async def test_a_quota_stands_in_the_way_of_a_simulation_too(world, http) -> None:
    world.quota("default", {"total": {"requests": {"tflops": "5"}}})
    await world.settle()
    _, answer = await http.call("POST", "/api/simulate-schedule", pod())
    assert answer["error"]["type"] == "QuotaExceeded"
    assert "total.max.tflops.request" in answer["error"]["diagnosis"]["preFilterMsg"]


async def test_an_unknown_scheduler_is_not_found(http) -> None:
    status, answer = await http.call("POST", "/api/simulate-schedule", pod(scheduler="volcano"))
    assert (status, answer) == (500, {"error": "scheduler framework not found"})


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[",
        "{}",
        "kind: Pod",
        "just text",
        "- 1",
        "kind: Node",
        "a: &a [*a]",
        "\x00",
        b"\xff\xfe",
        "[" * 100_000,
        '{"a":' * 100_000,
        "---\n{}\n---\n{}",
        "spec: 5",
        "spec: {containers: [{name: 5}], priority: many}",
        "!!python/object/apply:os.system [ls]",
        pod(tflops="many"),
        pod(tflops="-1"),
    ],
)
async def test_a_bad_body_is_a_400_with_one_line(http, body: str | bytes) -> None:
    status, answer = await http.call("POST", "/api/simulate-schedule", body)
    assert status in (400, 413)
    assert set(answer) == {"error"}
    assert answer["error"]
    assert "\n" not in answer["error"]
    assert "Traceback" not in answer["error"]


async def test_a_body_without_end_is_not_read_to_the_end(http) -> None:
    status, answer = await http.call("POST", "/api/simulate-schedule", b" " * (4 << 20))
    assert status == 413
    assert "3145728" in answer["error"]


async def test_admission_goes_first_and_its_refusal_is_the_answer(world, http) -> None:
    def refuse(_: dict[str, Any]) -> dict[str, Any]:
        raise InvalidRequest("annotation tensor-fusion.ai/gpu-count: wanted 1..128, found '200'")

    refusing = Http(Starlette(routes=routes(world.service, admission=refuse, authorize=nobody, anonymous_read=True)))
    status, answer = await refusing.call("POST", "/api/simulate-schedule", pod())
    assert (status, answer["error"][:10]) == (400, "annotation")


@pytest.mark.parametrize("path", ["/api/allocation", "/api/explain?name=a", "/api/pending", "/api/decisions"])
async def test_without_anonymous_reading_a_token_is_asked_for(world, path: str) -> None:
    await world.start()
    closed = Http(Starlette(routes=routes(world.service, admission=unchanged, authorize=nobody)))
    status, answer = await closed.call("GET", path)
    assert (status, "token" in answer["error"]) == (401, True)
    status, answer = await closed.call("POST", "/api/simulate-schedule", pod())
    assert status == 401


async def test_anonymous_reading_opens_simulation_and_allocation_and_nothing_that_names_pods(world) -> None:
    await world.start()
    opened = Http(Starlette(routes=routes(world.service, admission=unchanged, authorize=nobody, anonymous_read=True)))
    assert (await opened.call("GET", "/api/allocation"))[0] == 200
    assert (await opened.call("POST", "/api/simulate-schedule", pod()))[0] == 200
    for path in ("/api/explain?name=a", "/api/decisions"):
        status, answer = await opened.call("GET", path)
        assert (path, status, "token" in answer["error"]) == (path, 401, True)


async def test_explain_asks_for_the_right_to_read_that_pod(world) -> None:
    await world.start()
    asked: list[Key | None] = []

    async def note(_: Request, about: Key | None) -> None:
        asked.append(about)

    http = Http(Starlette(routes=routes(world.service, admission=unchanged, authorize=note, anonymous_read=True)))
    await http.call("GET", "/api/explain?name=a&namespace=team")
    await http.call("GET", "/api/pending?namespace=team")
    await http.call("GET", "/api/pending")
    await http.call("GET", "/api/decisions")
    await http.call("GET", "/api/allocation")
    assert asked == [Key("team", "a"), Key("team", ""), Key("", ""), None]


async def test_allocation_shows_devices_workers_and_shares(world, http) -> None:
    made = world.worker("a", tflops="30", vram="2Gi", count=2)
    await world.settle()
    _, answer = await http.call("GET", "/api/allocation")
    uid = made["metadata"]["uid"]
    devices = world.devices_of("a")
    assert answer["gpuStore"][f"/{devices[0]}"]["status"]["available"] == {"tflops": "70", "vram": "14Gi"}
    assert answer["nodeWorkerStore"] == {"n0": {"default/a": True}}
    share = answer["allocation"][uid]
    assert share["GPUNames"] == devices
    assert (share["PoolName"], share["Count"], share["Request"]) == ("main", 2, {"tflops": "30", "vram": "2Gi"})
    assert share["PodMeta"]["name"] == "a"
    for device in devices:
        (worker,) = answer["gpuToWorkerMap"][device]
        assert (worker["podName"], worker["podUID"], worker["namespace"]) == ("a", uid, "default")


async def test_allocation_says_all_that_a_pod_asked_for(world, http) -> None:
    term = {"matchExpressions": [{"key": keys.HOSTNAME_LABEL, "operator": "In", "values": ["n1"]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
    wishes = {
        f"{keys.DOMAIN}/tflops-limit": "60",
        f"{keys.DOMAIN}/vram-limit": "4Gi",
        f"{keys.DOMAIN}/qos": "high",
        f"{keys.DOMAIN}/gpu-indices": "1",
        f"{keys.DOMAIN}/gpu-model": "A100",
        f"{keys.DOMAIN}/vendor": "NVIDIA",
    }
    made = world.worker("a", tflops="30", annotations=wishes, labels={keys.WORKLOAD: "job"}, affinity=affinity)
    await world.settle()
    _, answer = await http.call("GET", "/api/allocation")
    share = answer["allocation"][made["metadata"]["uid"]]
    meta = share.pop("PodMeta")
    assert (meta["uid"], meta["labels"][keys.WORKLOAD]) == (made["metadata"]["uid"], "job")
    assert share == {
        "PoolName": "main",
        "WorkloadNameNamespace": {"name": "job", "namespace": "default"},
        "Request": {"tflops": "30", "vram": "1Gi"},
        "Limit": {"tflops": "60", "vram": "4Gi"},
        "GPUIndices": [1],
        "Count": 1,
        "GPUModel": "A100",
        "GPUVendor": "NVIDIA",
        "NodeAffinity": affinity["nodeAffinity"],
        "GPUNames": ["g1-1"],
        "QoS": "high",
        "Isolation": "soft",
        "PartitionTemplateID": "",
    }


async def test_a_nominated_pod_is_no_worker_of_the_devices_that_others_are_to_leave(world, http) -> None:
    for number in range(4):
        world.worker(f"low{number}", tflops="90")
    await world.settle()
    high = world.worker("high", tflops="90", priority=5)
    await world.settle(2)
    assert high["metadata"]["uid"] in world.service.state.nominated
    _, answer = await http.call("GET", "/api/allocation")
    assert high["metadata"]["uid"] not in answer["allocation"]
    assert [len(workers) for workers in answer["gpuToWorkerMap"].values()] == [1, 1, 1, 1]


async def test_explain_tells_of_a_placed_pod(world, http) -> None:
    world.worker("a", tflops="30")
    await world.settle()
    status, answer = await http.call("GET", "/api/explain?namespace=default&name=a")
    assert status == 200
    assert (answer["result"], answer["node"], answer["devices"]) == ("placed", "n0", ["g0-0"])
    assert answer["request"]["tflops"] == "30"
    assert answer["mode"] == "NodeCompactGPULowLoad"
    assert answer["alternatives"] == [{"node": "n1", "score": 0, "parts": {"placement": 0.0}}]
    assert (answer["nodes"], answer["feasible"], answer["scoreParts"]) == (2, 2, {"placement": 0.0})
    assert answer["amounts"] == {
        "milliCpu": 0,
        "memoryBytes": 0,
        "devices": 1,
        "gflops": 30_000,
        "vramBytes": 1 << 30,
    }
    assert answer["policy"] == world.service.notes.policy
    assert answer["decidedAt"].endswith("Z")
    assert answer["binding"] == "bound"
    assert answer["attempt"] == 1


async def test_explain_tells_why_a_pod_waits(world, http) -> None:
    world.worker("big", tflops="200")
    await world.settle()
    _, answer = await http.call("GET", "/api/explain?name=big")
    assert answer["result"] == "unschedulable"
    assert "4 devices: not enough compute" in answer["reason"]
    assert answer["removed"] == {"compute": 4}
    assert answer["waits"] == "until something changes that can help"


async def test_explain_tells_of_pods_that_were_never_decided(world, http) -> None:
    world.worker("gated", schedulingGates=[{"name": "example.com/g"}])
    world.plain("theirs", schedulerName="volcano")
    world.worker("broken", tflops="many")
    world.worker("before")
    patch = {"spec": {"nodeName": "n0"}, "metadata": {"annotations": {keys.GPU_IDS: "g0-0"}}}
    world.api.change(PODS, "before", patch, namespace="default")
    await world.settle()
    results = {}
    for name in ("gated", "theirs", "broken", "before"):
        _, answer = await http.call("GET", f"/api/explain?name={name}")
        results[name] = answer["result"]
        assert answer["reason"]
    assert results == {"gated": "gated", "theirs": "not-ours", "broken": "invalid", "before": "placed"}


async def test_explain_remembers_a_deleted_pod_and_knows_no_others(world, http) -> None:
    world.worker("a")
    await world.settle()
    world.delete("a")
    await world.settle()
    _, answer = await http.call("GET", "/api/explain?name=a")
    assert (answer["now"], answer["node"]) == ("deleted", "n0")
    status, answer = await http.call("GET", "/api/explain?name=nobody")
    assert (status, "default/nobody" in answer["error"]) == (404, True)
    status, answer = await http.call("GET", "/api/explain")
    assert (status, "name" in answer["error"]) == (400, True)


async def test_decisions_are_counted_and_timed(world, http) -> None:
    world.worker("a")
    world.worker("b", tflops="200")
    await world.settle()
    _, answer = await http.call("GET", "/api/decisions")
    assert answer["count"] == 2
    assert answer["results"] == {"placed": 1, "unschedulable": 1}
    assert 0 < answer["p50Microseconds"] <= answer["p99Microseconds"]


async def test_what_pends_is_summed_up_by_reason_namespace_and_pool(world, http) -> None:
    world.quota("poor", {"total": {"requests": {"tflops": "5"}}})
    await world.settle()
    world.worker("first", tflops="200", vram="2Gi", count=2)
    await world.settle(60)
    world.worker("second", tflops="200")
    world.worker("deep", vram="99Gi")
    world.worker("over", namespace="poor")
    world.worker("broken", tflops="many")
    world.worker("gated", schedulingGates=[{"name": "example.com/g"}])
    world.worker("runs")
    world.plain("cpu", cpu="1000")
    await world.settle(10)
    status, answer = await http.call("GET", "/api/pending")
    assert status == 200
    assert (answer["pods"], answer["gpus"], answer["longestWaiting"]) == (7, 6, "default/first")
    assert answer["longestWaitSeconds"] >= 70
    reasons = {row["reason"]: row["pods"] for row in answer["byReason"]}
    assert reasons == {"compute": 2, "vram": 1, "quota": 1, "invalid": 1, "gated": 1, "cpu": 1}
    compute = answer["byReason"][0]
    assert (compute["words"], compute["gpus"], compute["tflops"]) == ("not enough compute", 3, "600")
    assert compute["vram"] == "5Gi"
    assert [row["namespace"] for row in answer["byNamespace"]] == ["default", "poor"]
    assert answer["byNamespace"][1]["reasons"] == {"quota": 1}
    assert {row["pool"]: row["pods"] for row in answer["byPool"]} == {"main": 5, "": 2}
    _, poor = await http.call("GET", "/api/pending?namespace=poor")
    assert (poor["pods"], poor["longestWaiting"]) == (1, "poor/over")
    _, other = await http.call("GET", "/api/pending?pool=nowhere")
    assert (other["pods"], other["byReason"]) == (0, [])
    gauge = meters.PENDING_BY_REASON
    assert gauge.labels("compute")._value.get() == 2
    world.delete("first")
    world.delete("second")
    await world.settle(10)
    assert gauge.labels("compute")._value.get() == 0


async def test_a_simulation_scores_nodes_by_plugin_and_says_who_would_go(world, http) -> None:
    for number in range(4):
        world.worker(f"low{number}", tflops="90")
    await world.settle()
    _, answer = await http.call("POST", "/api/simulate-schedule", pod())
    assert answer["nodeScores"][0]["node"] == answer["scheduleResult"]["SuggestedHost"]
    assert set(answer["nodeScores"][0]["plugins"]) == {"GPUResourcesFit"}
    assert answer["feasibleNodes"] == ["n0", "n1"]
    assert (answer["preemption"], answer["gang"]) == (None, None)
    important = pod(tflops="50").replace("spec:", "spec:\n  priority: 5")
    before = dict(world.service.state.allocations)
    _, answer = await http.call("POST", "/api/simulate-schedule", important)
    assert answer["gpuSchedulerState"]["IsPreemption"] is True
    assert answer["preemption"]["possible"] is True
    assert len(answer["preemption"]["victims"]) == 1
    assert answer["preemption"]["victims"][0]["pod"].startswith("default/low")
    assert answer["error"]["diagnosis"]["postFilterMsg"].startswith("preemption: 1 pods would be evicted from n")
    assert dict(world.service.state.allocations) == before
    assert not [call for call in world.api.calls if call.verb == "evict"]


async def test_a_gang_of_a_pod_is_simulated_as_a_whole(world, http) -> None:
    _, answer = await http.call("POST", "/api/simulate-schedule?gang=8", pod(tflops="50"))
    assert answer["error"] is None
    assert (answer["gang"]["fits"], answer["gang"]["needed"], len(answer["gang"]["members"])) == (True, 8, 8)
    _, answer = await http.call("POST", "/api/simulate-schedule?gang=9", pod(tflops="50"))
    assert answer["error"]["type"] == "GangUnschedulable"
    assert (answer["gang"]["fits"], answer["gang"]["placed"]) == (False, 8)
    assert "8 of 9 fit" in answer["gang"]["reason"]


async def test_a_simulated_gang_says_who_would_go_for_it(world, http) -> None:
    for number in range(4):
        world.worker(f"low{number}", tflops="90")
    await world.settle()
    important = pod(tflops="100").replace("spec:", "spec:\n  priority: 5")
    _, answer = await http.call("POST", "/api/simulate-schedule?gang=4", important)
    assert answer["gang"]["fits"] is False
    room = answer["preemption"]
    assert (room["possible"], len(room["victims"]), len(room["members"])) == (True, 4, 4)
    assert answer["gpuSchedulerState"]["IsPreemption"] is True
    assert answer["error"]["diagnosis"]["postFilterMsg"].startswith("preemption: 4 pods would be evicted from n")
    told = [line for line in lines(answer) if "make room" in line]
    assert told and "2 on n0" in told[0] and "2 on n1" in told[0] and told[0].count("default/low") == 4
    _, answer = await http.call("POST", "/api/simulate-schedule?gang=5", important)
    assert answer["preemption"]["possible"] is False
    assert not [call for call in world.api.calls if call.verb == "evict"]


@pytest.mark.parametrize("query", ["", "?gang=2"])
async def test_who_may_not_list_the_pods_of_a_namespace_is_told_counts_of_them(world, http, query: str) -> None:
    for number in range(4):
        world.worker(f"low{number}", tflops="90")
    await world.settle()

    async def paths_alone(_: Request, about: Key | None) -> None:
        if about is not None:
            raise Forbidden(f"cannot list pods of {about.namespace}")

    important = pod(tflops="50").replace("spec:", "spec:\n  priority: 5")
    for may, opened in ((paths_alone, False), (nobody, True)):
        closed = Http(
            Starlette(routes=routes(world.service, admission=unchanged, authorize=may, anonymous_read=opened))
        )
        status, answer = await closed.call("POST", f"/api/simulate-schedule{query}", important)
        assert (status, answer["preemption"]["possible"]) == (200, True)
        assert (answer["preemption"]["victims"], answer["preemption"]["evicted"]) == ([], 1)
        assert "low" not in json.dumps(answer)
        assert any("evicts 1 pod that you may not list" in line for line in lines(answer))


async def test_a_gang_is_tried_out_on_a_copy_beside_the_loop(world, http, monkeypatch) -> None:
    seen: list[tuple[bool, bool]] = []
    plain = simulating.simulate_decision

    def note(state: Any, *given: Any, **named: Any) -> Any:
        seen.append((state is world.service.state, threading.current_thread() is threading.main_thread()))
        return plain(state, *given, **named)

    monkeypatch.setattr(simulating, "simulate_decision", note)
    _, answer = await http.call("POST", "/api/simulate-schedule?gang=2", pod())
    assert answer["gang"]["fits"] is True
    assert "hypotheticalNodes" not in answer
    assert seen == [(False, False)]


async def test_a_pod_with_very_many_rules_is_tried_out_beside_the_loop_too(world, http) -> None:
    term = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "x"}}}
    terms = {"requiredDuringSchedulingIgnoredDuringExecution": [term] * 1_000}
    spec = {"schedulerName": keys.SCHEDULER_NAME, "containers": [{}], "affinity": {"podAntiAffinity": terms}}
    body = {"metadata": {"name": "a"}, "spec": spec}
    budget = Budget(lambda: 0.0)
    simulator = Simulator(world.service, budget)
    assert (await simulator.answer(body))["error"] is None
    budget.spend(BURST)
    with pytest.raises(TooManyRequests, match="is spent"):
        await simulator.answer(body)


async def test_questions_beyond_their_time_are_told_to_ask_again(world, http) -> None:
    body = {"metadata": {"name": "a"}, "spec": {"schedulerName": keys.SCHEDULER_NAME, "containers": [{}]}}
    budget = Budget(lambda: 0.0)
    simulator = Simulator(world.service, budget)
    many = await asyncio.gather(*(simulator.answer(body, Question(gang=2)) for _ in range(12)), return_exceptions=True)
    refused = [str(one) for one in many if isinstance(one, TooManyRequests)]
    assert refused == ["8 large questions wait already: ask again in a few seconds"] * 4
    assert all(one["gang"]["fits"] for one in many[:8])
    budget.spend(BURST)
    with pytest.raises(TooManyRequests, match="is spent: ask again in a few seconds"):
        await simulator.answer(body, Question(gang=2))
    assert (await simulator.answer(body))["error"] is None


async def test_simulations_of_single_pods_may_not_take_all_the_time_either(world, http) -> None:
    body = {"metadata": {"name": "a"}, "spec": {"schedulerName": keys.SCHEDULER_NAME, "containers": [{}]}}
    quick = Budget(lambda: 0.0)
    simulator = Simulator(world.service, quick=quick)
    assert (await simulator.answer(body))["error"] is None
    assert quick.open
    left = quick._left
    assert left < BURST, "it was charged"
    quick.spend(left)
    with pytest.raises(TooManyRequests, match="time for simulations is spent"):
        await simulator.answer(body)
    assert (await simulator.answer(body, Question(gang=2)))["gang"]["fits"] is True


async def test_who_has_to_wait_is_told_for_how_long(http, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Budget, "open", False)
    for query in ("", "?gang=2"):
        status, _ = await http.call("POST", f"/api/simulate-schedule{query}", pod())
        assert (status, int(http.headers["retry-after"]) > 0) == (429, True)


async def test_rules_times_members_are_limited(http) -> None:
    term = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "x"}}}
    terms = {"requiredDuringSchedulingIgnoredDuringExecution": [term] * 200}
    spec = {
        "schedulerName": keys.SCHEDULER_NAME,
        "containers": [{}],
        "affinity": {"podAntiAffinity": terms},
    }
    body = json.dumps({"metadata": {"name": "a"}, "spec": spec})
    status, answer = await http.call("POST", "/api/simulate-schedule?gang=512", body)
    assert (status, f"at most {MOST_TERMS} rules" in answer["error"], "200 x 512" in answer["error"]) == (
        400,
        True,
        True,
    )


async def test_nodes_that_do_not_exist_are_there_for_one_question(world, http) -> None:
    shape = "gpus=H200:2,count=2,name=big,label.zone=a"
    before = fingerprint(world.service.state)
    _, answer = await http.call("POST", f"/api/simulate-schedule?addNode={shape}", pod(tflops="500"))
    assert answer["error"] is None
    assert answer["scheduleResult"] == {"SuggestedHost": "big-0", "EvaluatedNodes": 4, "FeasibleNodes": 2}
    assert answer["hypotheticalNodes"] == ["big-0", "big-1"]
    assert answer["gpuSchedulerState"]["FinalGPUs"] == ["big-0-gpu-0"]
    assert fingerprint(world.service.state) == before
    _, answer = await http.call("POST", "/api/simulate-schedule", pod(tflops="500"))
    assert answer["error"]["type"] == "FitError"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("gang=1", "gang: wanted a whole number from 2 to 512, found '1'"),
        ("gang=many", "found 'many'"),
        ("addNode=gpus", "wanted KEY=VALUE parts such as gpus=H200:8, found 'gpus'"),
        ("addNode=gpu=H200", "no part is named 'gpu': did you mean gpus or cpu?"),
        ("addNode=gpus=Unheard", "the catalogue does not know 'Unheard': state tflops and vram"),
        ("addNode=gpus=H200:0", "wanted a whole number from 1 to 32, found '0'"),
        ("addNode=cpu=-", "cpu"),
        ("addNode=cpu=1,count=5000", "wanted a whole number from 1 to 1000, found '5000'"),
        ("addNode=cpu=1,cpu=2", "cpu stands there twice"),
        ("addNode=cpu=1,name=a&addNode=cpu=2,name=a", "wanted names that differ, found a, a"),
        ("addNode=cpu=1,name=A_B", "found 'A_B'"),
    ],
)
async def test_a_bad_question_is_a_400_that_names_the_word(http, query: str, said: str) -> None:
    status, answer = await http.call("POST", f"/api/simulate-schedule?{query}", pod())
    assert (status, said in answer["error"]) == (400, True), answer
    assert "\n" not in answer["error"]


async def test_rules_between_pods_are_refusals_of_their_plugins(world, http) -> None:
    rules = (
        "spec:\n  affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: "
        "[{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: x}}}]}}"
    )
    _, answer = await http.call("POST", "/api/simulate-schedule", pod().replace("spec:", rules))
    status = answer["error"]["diagnosis"]["nodeToStatus"]["nodes"]["n0"]
    assert (status["plugin"], status["code"]) == ("InterPodAffinity", 3)


@pytest.mark.parametrize("weight", [10**20, 0, -1, 101])
async def test_a_weight_that_kubernetes_refuses_is_refused_with_the_field(http, weight: int) -> None:
    term = {"matchExpressions": [{"key": keys.HOSTNAME_LABEL, "operator": "Exists"}]}
    wish = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": weight, "preference": term}]}
    spec = {"schedulerName": keys.SCHEDULER_NAME, "containers": [{}], "affinity": {"nodeAffinity": wish}}
    body = json.dumps({"metadata": {"name": "a"}, "spec": spec})
    status, answer = await http.call("POST", "/api/simulate-schedule", body)
    field = "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight"
    assert (status, answer) == (400, {"error": f"{field}: wanted 1 to 100, found {weight}"})


@pytest.mark.parametrize("field", ["maxSkew", "minDomains"])
async def test_a_number_of_a_spread_rule_beyond_32_bits_is_refused_with_the_field(http, field: str) -> None:
    rule = {"topologyKey": keys.HOSTNAME_LABEL, "whenUnsatisfiable": "ScheduleAnyway", "maxSkew": 1, field: 10**20}
    spec = {"schedulerName": keys.SCHEDULER_NAME, "containers": [{}]}
    spec["topologySpreadConstraints"] = [{**rule, "labelSelector": {"matchLabels": {"app": "x"}}}]
    body = json.dumps({"metadata": {"name": "a"}, "spec": spec})
    status, answer = await http.call("POST", "/api/simulate-schedule", body)
    where = f"spec.topologySpreadConstraints[0].{field}"
    assert (status, answer) == (400, {"error": f"{where}: wanted at most 2147483647, found {10**20}"})
