"""What ``make demo`` shows: a cluster of three simulated nodes, every example applied, what became of each, and a route
to models that goes on when one of its replicas is killed.

Uses only the installed program and what it prints for programs, as a user's script would.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = [str(Path(sys.executable).with_name("tensorfusion"))]
FOLDER = Path(os.environ.get("DEMO_FOLDER") or ROOT / ".demo")
PATIENCE = 30.0
QUIET = 3.0
"""Seconds for which nothing changes before the end is told: a pod that makes room for itself waits for others first."""
GPU_IDS = "tensor-fusion.ai/gpu-ids"


def run(*arguments: str, check: bool = True) -> str:
    done = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        sys.exit(f"demo: tensorfusion {' '.join(arguments)} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def items(kind: str) -> list[dict]:
    return json.loads(run("get", kind, "-A", "-o", "json", "--data", str(FOLDER)))["items"]


def condition(pod: dict) -> str:
    for entry in pod["status"].get("conditions", []):
        if entry["type"] == "PodScheduled" and entry["status"] == "False":
            return entry.get("message", "")
    return ""


def settled(pods: list[dict]) -> bool:
    return bool(pods) and all(pod["status"].get("phase") == "Running" or condition(pod) for pod in pods)


def wait_for_pods(expected: int) -> list[dict]:
    deadline = time.monotonic() + PATIENCE
    since, before = time.monotonic(), None
    while True:
        pods = items("pods")
        seen = sorted((pod["metadata"]["uid"], pod["status"].get("phase", ""), condition(pod)) for pod in pods)
        if seen != before:
            since, before = time.monotonic(), seen
        quiet = time.monotonic() - since >= QUIET
        if (len(pods) >= expected and settled(pods) and quiet) or time.monotonic() > deadline:
            return pods
        time.sleep(0.3)


def wait_for_rollup(pods: list[dict]) -> None:
    """The devices' own numbers follow the placements within about a second."""
    held = {name for pod in pods for name in pod["metadata"].get("annotations", {}).get(GPU_IDS, "").split(",") if name}
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        busy = {gpu["metadata"]["name"] for gpu in items("gpus") if gpu["status"].get("runningApps")}
        pool = items("gpupools")[0]["status"]
        if busy == held and pool.get("totalGPUs"):
            return
        time.sleep(0.3)


def report(pods: list[dict]) -> None:
    devices = {gpu["metadata"]["name"]: gpu["status"] for gpu in items("gpus")}
    running = [pod for pod in pods if pod["status"].get("phase") == "Running"]
    waiting = [pod for pod in pods if pod["status"].get("phase") != "Running"]
    print(f"\nPlaced: {len(running)} pods")
    for pod in sorted(running, key=lambda pod: (pod["metadata"]["namespace"], pod["metadata"]["name"])):
        annotations = pod["metadata"].get("annotations", {})
        name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        ids = [device for device in annotations.get(GPU_IDS, "").split(",") if device]
        if not ids:
            print(f"  {name:<38} no GPU asked for                        on {pod['spec']['nodeName']}")
            continue
        prefix = "tensor-fusion.ai/"
        compute = annotations.get(f"{prefix}tflops-request")
        share = f"{compute} TFLOPS" if compute else f"{annotations.get(f'{prefix}compute-percent-request')} %"
        places = ", ".join(f"device {devices[device]['index']} ({devices[device]['gpuModel']})" for device in ids)
        vram = annotations.get(f"{prefix}vram-request")
        print(f"  {name:<38} {share} and {vram} of {places} on {pod['spec']['nodeName']}")
    if waiting:
        print(f"\nWaiting: {len(waiting)} pods")
        for pod in waiting:
            print(f"  {pod['metadata']['namespace']}/{pod['metadata']['name']}: {condition(pod) or 'no decision yet'}")
            print("    more: tensorfusion explain pod", pod["metadata"]["name"], "-n", pod["metadata"]["namespace"])
    events = [event for event in items("events") if event["reason"] == "Preempted"]
    if events:
        print(f"\nEvicted: {len(events)} pod{'s' * (len(events) > 1)}")
        for event in events:
            print(f"  {event['involvedObject']['namespace']}/{event['involvedObject']['name']}: {event['message']}")
    print("\nDevices")
    print(run("top", "--data", str(FOLDER)))
    print("Pools")
    print(run("status", "--data", str(FOLDER)).split("\n\n", 1)[-1])


@contextlib.contextmanager
def model_server() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A simulated model server and its address."""
    command = [*PROGRAM, "testserver", "llm", "--port", "0", "--model", "demo-model"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.terminate()


def ask(gateway: str, key: str) -> tuple[int, str, str]:
    """Status, the target that answered, and how many were asked."""
    body = {"model": "demo-model", "messages": [{"role": "user", "content": "Hello"}]}
    fields = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{gateway}/v1/chat/completions", json.dumps(body).encode(), fields)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers["x-tf-target"], answer.headers["x-tf-attempts"]
    except urllib.error.HTTPError as error:
        return error.code, "", ""


def route(*endpoints: str) -> dict:
    targets = [
        {"name": f"replica-{number}", "provider": "self-hosted", "model": "demo-model", "endpoint": endpoint}
        for number, endpoint in enumerate(endpoints, start=1)
    ]
    return {
        "apiVersion": "tensor-fusion.ai/v1",
        "kind": "LLMRoute",
        "metadata": {"name": "demo", "namespace": "default"},
        "spec": {
            "strategy": "round-robin",
            "selector": {"modelPattern": "^demo-model$"},
            "targets": targets,
        },
    }


def show_gateway(gateway: str) -> bool:
    """A route over two replicas, one of which is killed; whether every request was answered."""
    print(f"\nA route over two model servers, through the AI gateway at {gateway}", flush=True)
    key = run("gateway", "keys", "create", "demo", "-n", "default", "--data", str(FOLDER)).split()[0]
    with model_server() as (first, one), model_server() as (_, two):
        file = FOLDER / "route.json"
        file.write_text(json.dumps(route(one, two)))
        run("apply", "-f", str(file), "--data", str(FOLDER))
        deadline = time.monotonic() + PATIENCE
        while ask(gateway, key)[0] != 200 and time.monotonic() < deadline:
            time.sleep(0.05)
        before = [ask(gateway, key) for _ in range(6)]
        first.kill()
        first.wait()
        after = [ask(gateway, key) for _ in range(6)]
    for when, answers in (("both run", before), ("replica-1 was killed", after)):
        shown = ", ".join(f"{target} ({tries} asked)" if tries != "1" else target for _, target, tries in answers)
        ok = sum(status == 200 for status, _, _ in answers)
        print(f"  {when}: {ok} of {len(answers)} answered, by {shown}")
    return all(status == 200 for status, _, _ in before + after)


def main() -> None:
    keep = os.environ.get("KEEP", "") not in ("", "0")
    started = time.monotonic()
    run("down", "--data", str(FOLDER))
    shutil.rmtree(FOLDER, ignore_errors=True)
    print("Starting a cluster of three simulated nodes: 4 x A100-80G, 4 x H100-80G, 2 x L4 ...", flush=True)
    try:
        ports = ("--port", "0", "--http-port", "0", "--gateway-port", "0")
        print(run("up", "--detach", "--data", str(FOLDER), *ports).splitlines()[0])
        gateway = json.loads((FOLDER / "run" / "ready.json").read_text())["gateway"]
        print("\nApplying examples/ ...", flush=True)
        files = [word for file in sorted((ROOT / "examples").glob("*.yaml")) for word in ("-f", str(file))]
        print(run("apply", *files, "--data", str(FOLDER)).rstrip())
        pods = wait_for_pods(expected=13)
        wait_for_rollup(pods)
        report(pods)
        answered = show_gateway(gateway)
        print(f"\nDone in {time.monotonic() - started:.1f} s.")
        ok = settled(pods)
    finally:
        if not keep:
            run("down", "--data", str(FOLDER), check=False)
            shutil.rmtree(FOLDER, ignore_errors=True)
    if keep:
        print(f"\nIt goes on running. Use it:\n  export KUBECONFIG={FOLDER}/kubeconfig\n  kubectl get pods -A -o wide")
        print(f"Stop it:\n  {PROGRAM[0]} down --data {FOLDER}")
    else:
        print("\nNothing is left running. To go on with it: KEEP=1 make demo, or")
        print("  tensorfusion up --detach && export KUBECONFIG=~/.tensorfusion/kubeconfig && kubectl get gpus")
    if not ok:
        sys.exit("demo: some pods were neither placed nor refused with a reason")
    if not answered:
        sys.exit("demo: some requests to the gateway were not answered")


if __name__ == "__main__":
    main()
