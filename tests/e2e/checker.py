"""An oversell checker that shares no code with the product: it adds up what the API's objects say.

Reads raw JSON objects, does its own arithmetic on quantities, and knows only the public annotation names.
"""

import json
from collections import defaultdict
from fractions import Fraction
from typing import Any

D = "tensor-fusion.ai/"
SUFFIXES = {
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
    "m": Fraction(1, 1000), "": 1,
}  # fmt: skip


def amount(text: str | int) -> Fraction:
    text = str(text)
    number = text.rstrip("KMGTikm")
    return Fraction(number) * SUFFIXES[text[len(number) :]]


def oversold(gpus: list[dict[str, Any]], pods: list[dict[str, Any]]) -> list[str]:
    """One line for each device on which live pods hold more than its capacity."""
    capacity = {gpu["metadata"]["name"]: gpu["status"]["capacity"] for gpu in gpus}
    compute: dict[str, Fraction] = defaultdict(Fraction)
    memory: dict[str, Fraction] = defaultdict(Fraction)
    slots: dict[str, set[int]] = defaultdict(set)
    for pod in pods:
        notes = pod["metadata"].get("annotations", {})
        if not pod["spec"].get("nodeName") or pod["status"].get("phase") in ("Succeeded", "Failed"):
            continue
        for device in filter(None, notes.get(D + "gpu-ids", "").split(",")):
            whole = capacity[device]
            if notes.get(D + "isolation") == "shared":
                compute[device] += amount(whole["tflops"])
                memory[device] += amount(whole["vram"])
                continue
            if notes.get(D + "isolation") == "partitioned":
                (held,) = (one for one in json.loads(notes[D + "partitions"]) if one["gpu"] == device)
                compute[device] += amount(held["tflops"])
                memory[device] += amount(held["vram"])
                taken = slots[device].intersection(range(held["slotStart"], held["slotEnd"]))
                assert not taken, f"{device}: slots {sorted(taken)} are held twice"
                slots[device].update(range(held["slotStart"], held["slotEnd"]))
                continue
            if D + "tflops-request" in notes:
                compute[device] += amount(notes[D + "tflops-request"])
            else:
                percent = amount(notes.get(D + "compute-percent-request", 0))
                compute[device] += Fraction(int(amount(whole["tflops"]) * percent * 10), 1000)
            memory[device] += amount(notes.get(D + "vram-request", 0))
    return [
        f"{device}: {float(compute[device])} of {whole['tflops']} TFLOPS, {float(memory[device])} of {whole['vram']}"
        for device, whole in capacity.items()
        if compute[device] > amount(whole["tflops"]) or memory[device] > amount(whole["vram"])
    ]
