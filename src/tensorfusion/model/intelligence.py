"""WorkloadIntelligence: how workloads are watched, what is learned from them, and what may be applied.

Source: WorkloadIntelligence of the platform's contract. Ours: ``autoApply``, ``objective``, ``lookback``,
``forecastHorizon`` and ``feedback``.
"""

from enum import StrEnum
from typing import Annotated

import msgspec

from tensorfusion.model.common import SecretReference
from tensorfusion.model.meta import Condition, Object
from tensorfusion.model.quantities import ResourceBounds
from tensorfusion.model.request import QoS
from tensorfusion.model.rules import (
    Column,
    Count,
    Cron,
    Duration,
    Fraction,
    Int32,
    Part,
    Percent,
    Quantity,
    Rules,
    Time,
    UInt64,
    Url,
)


class VectorDBType(StrEnum):
    QDRANT = "qdrant"
    WEAVIATE = "weaviate"
    PINECONE = "pinecone"
    MILVUS = "milvus"


class PredictionModel(StrEnum):
    LSTM_FORECASTER = "lstm-forecaster"
    TRANSFORMER_CLASSIFIER = "transformer-classifier"
    GRADIENT_BOOSTING_REGRESSOR = "gradient-boosting-regressor"
    RL_SCHEDULER = "rl-scheduler"


class Objective(StrEnum):
    COST = "cost"
    PERFORMANCE = "performance"
    BALANCED = "balanced"


class IntelligencePhase(StrEnum):
    PENDING = "Pending"
    INITIALIZING = "Initializing"
    READY = "Ready"
    TRAINING = "Training"
    ERROR = "Error"


class VectorDBAuth(Part, frozen=True):
    """Credentials of the vector store."""

    api_key_secret: Annotated[SecretReference | None, Rules("API key.")] = msgspec.field(
        default=None, name="apiKeySecret"
    )
    token_secret: Annotated[SecretReference | None, Rules("Token.")] = msgspec.field(default=None, name="tokenSecret")


class VectorDBConfig(Part, frozen=True):
    """The store of what workloads are like."""

    type: Annotated[VectorDBType, Rules("Kind of the store.")] = VectorDBType.QDRANT
    endpoint: Annotated[Url, Rules("URL of the store.", required=True)] = ""
    collection_name: Annotated[str, Rules("Collection of the vectors.")] = msgspec.field(
        default="tensor-fusion-workloads", name="collectionName"
    )
    vector_dimension: Annotated[Int32, Rules("Numbers of one vector.", minimum=1)] = msgspec.field(
        default=768, name="vectorDimension"
    )
    auth: Annotated[VectorDBAuth | None, Rules("Credentials of the store.")] = None
    sync_interval: Annotated[Duration, Rules("Time between two writes.")] = msgspec.field(
        default="5m", name="syncInterval"
    )


class TrainedModelConfig(Part, frozen=True):
    """One model that is trained."""

    name: Annotated[PredictionModel, Rules("Which model.")]
    enabled: Annotated[bool, Rules("The model is trained and used.")] = True
    hyperparameters: Annotated[dict[str, str], Rules("Parameters of the training.")] = msgspec.field(
        default_factory=dict
    )
    epochs: Annotated[Int32, Rules("Passes over the samples.", minimum=1)] = 50
    batch_size: Annotated[Int32, Rules("Samples of one step.", minimum=1)] = msgspec.field(default=32, name="batchSize")


class ModelTraining(Part, frozen=True):
    """When and what is trained."""

    schedule: Annotated[Cron, Rules("Start times, cron with 5 fields.")] = "0 2 * * 0"
    data_retention: Annotated[Duration, Rules("How long samples are kept.")] = msgspec.field(
        default="90d", name="dataRetention"
    )
    min_samples: Annotated[Count, Rules("No training with fewer samples.")] = msgspec.field(
        default=100, name="minSamples"
    )
    models: Annotated[tuple[TrainedModelConfig, ...], Rules("Models that are trained.")] = ()
    training_resources: Annotated[ResourceBounds | None, Rules("Resources of a training.")] = msgspec.field(
        default=None, name="trainingResources"
    )


class AutoApply(Part, frozen=True):
    """Carrying recommendations out."""

    enabled: Annotated[bool, Rules("Carry recommendations out.", defaulted=True)] = False
    dry_run: Annotated[bool, Rules("Only say what would be done.")] = msgspec.field(default=True, name="dryRun")
    max_step_percent: Annotated[Percent, Rules("Largest change at a time.")] = msgspec.field(
        default=50, name="maxStepPercent"
    )
    cooldown: Annotated[Duration, Rules("Pause between two changes of a workload.")] = "10m"
    qos_allowed: Annotated[tuple[QoS, ...], Rules("Workloads that may be changed, by quality of service.")] = (
        msgspec.field(default=(QoS.LOW, QoS.MEDIUM), name="qosAllowed")
    )


class Feedback(Part, frozen=True):
    """Comparing predictions with what came."""

    deviation_threshold_percent: Annotated[Percent, Rules("Deviation that counts as a miss.")] = msgspec.field(
        default=20, name="deviationThresholdPercent"
    )


class WorkloadIntelligenceSpec(Part, frozen=True):
    """What is watched, learned and applied."""

    enable_prediction: Annotated[bool, Rules("Recommend resources.")] = msgspec.field(
        default=True, name="enablePrediction"
    )
    enable_vectorization: Annotated[bool, Rules("Keep vectors of workloads.")] = msgspec.field(
        default=True, name="enableVectorization"
    )
    vector_db_config: Annotated[VectorDBConfig | None, Rules("Where vectors are kept.")] = msgspec.field(
        default=None, name="vectorDBConfig"
    )
    model_training: Annotated[ModelTraining | None, Rules("When and what is trained.")] = msgspec.field(
        default=None, name="modelTraining"
    )
    feature_extractors: Annotated[tuple[str, ...], Rules("What is read from a workload; unset reads all.")] = (
        msgspec.field(default=(), name="featureExtractors")
    )
    confidence_threshold: Annotated[Fraction, Rules("Less sure recommendations are not made, 0 to 1.")] = msgspec.field(
        default="0.7", name="confidenceThreshold"
    )
    target_namespaces: Annotated[tuple[str, ...], Rules("Namespaces that are watched; unset watches all.")] = (
        msgspec.field(default=(), name="targetNamespaces")
    )
    auto_apply: Annotated[AutoApply | None, Rules("Carrying recommendations out; unset is off.")] = msgspec.field(
        default=None, name="autoApply"
    )
    objective: Annotated[Objective, Rules("What recommendations aim at.")] = Objective.BALANCED
    lookback: Annotated[Duration, Rules("How far back use is looked at.")] = "7d"
    forecast_horizon: Annotated[Duration, Rules("How far ahead use is predicted.")] = msgspec.field(
        default="24h", name="forecastHorizon"
    )
    feedback: Annotated[Feedback | None, Rules("Comparing predictions with what came.")] = None


class ModelStatus(Part, frozen=True):
    """One trained model."""

    name: Annotated[str, Rules("Name of the model.")]
    accuracy: Annotated[str, Rules("Accuracy on samples kept apart.")] = ""
    last_trained: Annotated[Time | None, Rules("When it was trained.")] = msgspec.field(
        default=None, name="lastTrained"
    )
    training_samples: Annotated[UInt64, Rules("Samples of the training.")] = msgspec.field(
        default=0, name="trainingSamples"
    )
    version: Annotated[str, Rules("Version of the model.")] = ""
    status: Annotated[str, Rules("What becomes of it.")] = ""


class VectorDBStatus(Part, frozen=True):
    """The vector store."""

    connected: Annotated[bool | None, Rules("The store answers.")] = None
    total_vectors: Annotated[UInt64, Rules("Vectors in the collection.")] = msgspec.field(
        default=0, name="totalVectors"
    )
    last_sync: Annotated[Time | None, Rules("When vectors were last written.")] = msgspec.field(
        default=None, name="lastSync"
    )
    collection_size: Annotated[str, Rules("Size of the collection.")] = msgspec.field(default="", name="collectionSize")


class PredictionStats(Part, frozen=True):
    """How well predictions did."""

    total_predictions: Annotated[UInt64, Rules("All predictions.")] = msgspec.field(default=0, name="totalPredictions")
    successful_predictions: Annotated[UInt64, Rules("Predictions that came true.")] = msgspec.field(
        default=0, name="successfulPredictions"
    )
    average_confidence: Annotated[str, Rules("Mean confidence.")] = msgspec.field(default="", name="averageConfidence")
    accuracy_score: Annotated[str, Rules("Part that came true.")] = msgspec.field(default="", name="accuracyScore")


class EstimatedPerformance(Part, frozen=True):
    """What a workload would do with recommended resources."""

    expected_latency_p50: Annotated[str, Rules("Median latency.")] = msgspec.field(
        default="", name="expectedLatencyP50"
    )
    expected_latency_p95: Annotated[str, Rules("95th percentile of the latency.")] = msgspec.field(
        default="", name="expectedLatencyP95"
    )
    expected_throughput: Annotated[str, Rules("Throughput.")] = msgspec.field(default="", name="expectedThroughput")


class Alternative(Part, frozen=True):
    """Another device that would do."""

    gpu_type: Annotated[str, Rules("Model of the device.")] = msgspec.field(default="", name="gpuType")
    confidence_score: Annotated[str, Rules("Confidence, 0 to 1.")] = msgspec.field(default="", name="confidenceScore")
    estimated_cost: Annotated[str, Rules("Dollars an hour.")] = msgspec.field(default="", name="estimatedCost")
    cost_savings: Annotated[str, Rules("Saved against the first choice.")] = msgspec.field(
        default="", name="costSavings"
    )
    performance_impact: Annotated[str, Rules("Lost against the first choice.")] = msgspec.field(
        default="", name="performanceImpact"
    )


class Recommendation(Part, frozen=True):
    """What one workload should ask for."""

    workload_id: Annotated[str, Rules("namespace/name of the workload.")] = msgspec.field(default="", name="workloadId")
    workload_pattern: Annotated[str, Rules("What the workload is like.")] = msgspec.field(
        default="", name="workloadPattern"
    )
    recommended_gpu: Annotated[str, Rules("Model of the device.")] = msgspec.field(default="", name="recommendedGpu")
    recommended_tflops: Annotated[Quantity, Rules("Compute in TFLOPS.")] = msgspec.field(
        default="", name="recommendedTflops"
    )
    recommended_vram: Annotated[Quantity, Rules("Device memory.")] = msgspec.field(default="", name="recommendedVram")
    confidence_score: Annotated[str, Rules("Confidence, 0 to 1.")] = msgspec.field(default="", name="confidenceScore")
    estimated_cost: Annotated[str, Rules("Dollars an hour.")] = msgspec.field(default="", name="estimatedCost")
    estimated_performance: Annotated[EstimatedPerformance | None, Rules("What the workload would do.")] = msgspec.field(
        default=None, name="estimatedPerformance"
    )
    alternatives: Annotated[tuple[Alternative, ...], Rules("Other devices that would do.")] = ()
    timestamp: Annotated[Time | None, Rules("When it was made.")] = None


class WorkloadIntelligenceStatus(Part, frozen=True):
    """What was learned."""

    phase: Annotated[IntelligencePhase, Rules("Ready once recommendations are made.")] = IntelligencePhase.PENDING
    conditions: Annotated[tuple[Condition, ...], Rules("Details of the phase.", map_key="type")] = ()
    last_updated: Annotated[Time | None, Rules("When the numbers were written.")] = msgspec.field(
        default=None, name="lastUpdated"
    )
    models: Annotated[tuple[ModelStatus, ...], Rules("Trained models.", map_key="name")] = ()
    vector_db: Annotated[VectorDBStatus | None, Rules("The vector store.")] = msgspec.field(
        default=None, name="vectorDB"
    )
    prediction_stats: Annotated[PredictionStats | None, Rules("How well predictions did.")] = msgspec.field(
        default=None, name="predictionStats"
    )
    recent_recommendations: Annotated[
        tuple[Recommendation, ...], Rules("The newest for each of ten workloads.", max_items=10)
    ] = msgspec.field(default=(), name="recentRecommendations")


class WorkloadIntelligence(Object, frozen=True):
    """How workloads are watched, what is learned from them, and what may be applied."""

    spec: Annotated[WorkloadIntelligenceSpec, Rules("What is watched, learned and applied.")] = msgspec.field(
        default_factory=WorkloadIntelligenceSpec
    )
    status: Annotated[WorkloadIntelligenceStatus, Rules("What was learned.")] = msgspec.field(
        default_factory=WorkloadIntelligenceStatus
    )


COLUMNS = (
    Column("Phase", ".status.phase"),
    Column("Predictions", ".status.predictionStats.totalPredictions", "integer"),
    Column("Accuracy", ".status.predictionStats.accuracyScore"),
    Column("Vectors", ".status.vectorDB.totalVectors", "integer"),
)
