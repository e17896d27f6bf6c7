"""WorkloadIntelligence: the loose dialect, the hint form of single workloads, and what they say in the schema.

Source: the platform's contract, loose dialect of WorkloadIntelligence.
"""

import json

from tensorfusion.model import keys
from tensorfusion.policy.dialects.draft import ABSENT, Draft, Json, Step, drop, move, percent, run, same, text

HINTS = f"{keys.DOMAIN}/workload-hints"
"""Annotation of a WorkloadProfile: what its owner says about the workload, as JSON."""

_HINT_FIELDS = ("workloadType", "modelSize", "trainingMethod", "parameters", "targetMetrics")
_EMBEDDING_SIZES = {"all-MiniLM-L6-v2": 384}
_MODELS = {
    "profiler": "gradient-boosting-regressor",
    "performancePrediction": "gradient-boosting-regressor",
    "loadForecasting": "lstm-forecaster",
    "optimalPlacement": "rl-scheduler",
    "classification": "transformer-classifier",
}


def _hints(draft: Draft) -> bool:
    """The hint form is no WorkloadIntelligence at all: it describes one workload."""
    spec = draft.get("spec")
    if not isinstance(spec, dict) or not any(name in spec for name in _HINT_FIELDS):
        return False
    hints = {name: draft.take(("spec", name)) for name in _HINT_FIELDS if name in spec}
    draft.rest("spec", f"only {', '.join(_HINT_FIELDS)} beside each other")
    draft.document["kind"] = "WorkloadProfile"
    draft.document.setdefault("spec", {})
    draft.put(("metadata", "annotations", HINTS), json.dumps(hints, sort_keys=True))
    draft.note("kind: WorkloadIntelligence -> WorkloadProfile")
    draft.note(f"spec: {{{', '.join(hints)}}} -> metadata.annotations[{HINTS}]")
    draft.warnings.append("the profile states no resources: this version makes no predictions from hints, set them")
    return True


def _embedding(draft: Draft) -> None:
    if not isinstance(draft.get("spec.embedding"), dict):
        return
    draft.move("spec.embedding.features", "spec.featureExtractors")
    model = draft.get("spec.embedding.model")
    size = _EMBEDDING_SIZES.get(model) if isinstance(model, str) else None
    if model is not ABSENT and size is None:
        draft.refuse("spec.embedding.model", f"one of {', '.join(_EMBEDDING_SIZES)}", model)
        return
    if size is not None:
        if draft.has("spec.vectorDBConfig") and not draft.has("spec.vectorDBConfig.vectorDimension"):
            draft.move("spec.embedding.model", "spec.vectorDBConfig.vectorDimension", lambda _: size)
        else:
            draft.drop("spec.embedding.model", "the size of the vectors is stated by the store")
    draft.rest("spec.embedding", "only model and features")


def _models(draft: Draft) -> None:
    """Models by purpose become models by name; what only a purpose has becomes a hyperparameter of its model."""
    models = draft.get("spec.models")
    if not isinstance(models, dict):
        return
    made: dict[str, dict[str, Json]] = {}
    for purpose in list(models):
        where = ("spec", "models", purpose)
        name = _MODELS.get(purpose)
        if name is None or not isinstance(models[purpose], dict):
            draft.refuse(where, f"an object under one of {', '.join(_MODELS)}", models[purpose])
            continue
        _smallest(draft, (*where, "minSamples"), "spec.modelTraining.minSamples")
        draft.move((*where, "lookbackWindow"), "spec.lookback")
        draft.move((*where, "forecastHorizon"), "spec.forecastHorizon")
        draft.move((*where, "confidence"), "spec.confidenceThreshold", text)
        entry = made.setdefault(name, {"name": name, "enabled": False})
        settings = models.pop(purpose)
        enabled = settings.pop("enabled", True)
        entry["enabled"] = entry["enabled"] or enabled
        for key, value in settings.items():
            entry.setdefault("hyperparameters", {})[f"{purpose}.{key}"] = _flat(value)
        draft.note(f"spec.models.{purpose} -> spec.modelTraining.models: {name}")
    if not models:
        draft.take("spec.models")
        draft.put("spec.modelTraining.models", list(made.values()))


def _smallest(draft: Draft, old: tuple[str | int, ...], new: str) -> None:
    """Several models state a number of samples; the smallest lets each of them begin."""
    value, found = draft.get(old), draft.get(new)
    if isinstance(value, int) and isinstance(found, int):
        draft.take(old)
        draft.document["spec"]["modelTraining"]["minSamples"] = min(value, found)
    else:
        draft.move(old, new)


def _flat(value: Json) -> str:
    if isinstance(value, list):
        return ",".join(map(_flat, value))
    if isinstance(value, dict):
        return json.dumps(value, sort_keys=True)
    if isinstance(value, bool):
        return "true" if value else "false"
    return text(value) if isinstance(value, int | float | str) else ""


def _prediction(draft: Draft) -> None:
    if not isinstance(draft.get("spec.prediction"), dict):
        return
    draft.move("spec.prediction.enabled", "spec.enablePrediction")
    draft.move("spec.prediction.thresholds.minConfidence", "spec.confidenceThreshold", text)
    if draft.get("spec.prediction.thresholds.fallbackToDefault") is True:
        draft.drop("spec.prediction.thresholds.fallbackToDefault", "less sure recommendations are never made")
    draft.prune("spec.prediction.thresholds")
    draft.drop("spec.prediction.caching", "recommendations are not cached")
    draft.move("spec.prediction.autoApply.namespaces", "spec.targetNamespaces")
    draft.move("spec.prediction.autoApply", "spec.autoApply")
    draft.rest("spec.prediction", "only enabled, thresholds (minConfidence, fallbackToDefault: true) and autoApply")


def _training(draft: Draft) -> None:
    if not isinstance(draft.get("spec.training"), dict):
        return
    if draft.get("spec.training.enabled") is False:
        draft.drop("spec.training", "it is switched off")
        return
    draft.drop("spec.training.enabled", "training that is stated is on")
    draft.move("spec.training.schedule", "spec.modelTraining.schedule")
    draft.move("spec.training.dataRetention", "spec.modelTraining.dataRetention")
    draft.move("spec.training.resources", "spec.modelTraining.trainingResources")
    draft.rest("spec.training", "only enabled, schedule, dataRetention and resources")


def _feedback(draft: Draft) -> None:
    if draft.get("spec.feedback.enabled") is False:
        draft.drop("spec.feedback", "it is switched off")
        return
    draft.move("spec.feedback.comparison.deviationThreshold", "spec.feedback.deviationThresholdPercent", percent)
    for field, why in (
        ("enabled", "feedback that is stated is on"),
        ("collectMetrics", "which metrics are compared is fixed"),
        ("metricsWindow", "predictions are compared over their own horizon"),
        ("comparison.alertOnDeviation", "a miss is counted, it raises no alert"),
    ):
        draft.drop(f"spec.feedback.{field}", why)
    draft.prune("spec.feedback.comparison")


TABLE: tuple[Step, ...] = (
    move("spec.vectorDB.collection", "spec.vectorDB.collectionName"),
    move("spec.vectorDB.dimension", "spec.vectorDB.vectorDimension"),
    move("spec.vectorDB", "spec.vectorDBConfig"),
    _embedding,
    _models,
    _prediction,
    _training,
    _feedback,
    same("spec.confidenceThreshold", text),
    drop("spec.enabled", "an object that exists is on"),
)


def rewrite(draft: Draft) -> None:
    """Rewrite a manifest in place."""
    if not _hints(draft):
        run(draft, TABLE)
