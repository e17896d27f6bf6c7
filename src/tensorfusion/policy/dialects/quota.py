"""GPUResourceQuota: ``hard`` ceilings, and parts that only examples have.

Source: the platform's contract, quirks of quotas.
"""

from tensorfusion.policy.dialects.draft import ABSENT, Draft, Step, refuse, run, told

_EXAMPLES_ONLY = ("soft", "priority", "timeWindows", "costTracking", "burst", "scopes", "monitoring")


def _hard(draft: Draft) -> None:
    hard = draft.get("spec.hard")
    if hard is ABSENT:
        return
    if not isinstance(hard, dict) or not set(hard) <= {"tflops", "vram"}:
        draft.refuse("spec.hard", "only tflops and vram", hard)
        return
    draft.take("spec.hard")
    for dimension, amount in hard.items():
        for side in ("requests", "limits"):
            if draft.put(f"spec.total.{side}.{dimension}", amount):
                draft.note(f"spec.hard.{dimension} -> spec.total.{side}.{dimension}: {told(amount)}")


TABLE: tuple[Step, ...] = (
    _hard,
    *(refuse(f"spec.{name}", "it unset: a quota has total and single ceilings only") for name in _EXAMPLES_ONLY),
)


def rewrite(draft: Draft) -> None:
    """Rewrite a manifest in place."""
    run(draft, TABLE)
