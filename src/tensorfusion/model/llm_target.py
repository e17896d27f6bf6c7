"""The targets of an LLMRoute: where a request may go, and under which conditions.

Apart from ``llm_route`` because a target has readers of its own (prices, credentials, replicas).

Source: LLMTarget of the platform's contract. Ours: prices, conditions, capabilities, the cap of requests in flight,
``version`` and ``contextLength``.
"""

from enum import StrEnum
from typing import Annotated

import msgspec

from tensorfusion.model.common import SecretReference
from tensorfusion.model.request import QoS
from tensorfusion.model.rules import Count, Int32, Money, Part, Regex, Rules, Url

Version = Annotated[str, Rules(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", max_length=63)]


class TargetCapability(StrEnum):
    """What a target can do beyond answering."""

    PREFILL = "prefill"


class TargetConditions(Part, frozen=True):
    """Requests that a target takes; all stated ones must hold."""

    min_tokens: Annotated[Count | None, Rules("Estimated tokens of the prompt at least.")] = msgspec.field(
        default=None, name="minTokens"
    )
    max_tokens: Annotated[Count | None, Rules("Estimated tokens of the prompt at most.")] = msgspec.field(
        default=None, name="maxTokens"
    )
    min_priority: Annotated[QoS | None, Rules("Priority of the request at least.")] = msgspec.field(
        default=None, name="minPriority"
    )
    request_pattern: Annotated[Regex, Rules("Regular expression that the last user message matches.")] = msgspec.field(
        default="", name="requestPattern"
    )


class LLMTarget(Part, frozen=True):
    """One place that answers requests."""

    name: Annotated[str, Rules("Name of the target, unique in the route.", min_length=1, max_length=253)]
    provider: Annotated[
        str, Rules("Wire form: openai, azure, anthropic, self-hosted, custom, vllm; any other speaks OpenAI's.")
    ]
    model: Annotated[str, Rules("Model name that the target is asked for.")]
    gpu_pool: Annotated[str, Rules("GPUPool whose workers serve the model.")] = msgspec.field(
        default="", name="gpuPool"
    )
    azure_gpu_source: Annotated[str, Rules("AzureGPUSource that serves the model.")] = msgspec.field(
        default="", name="azureGPUSource"
    )
    weight: Annotated[Int32, Rules("Part of the requests, with strategy weighted.", minimum=1, maximum=100)] = 50
    priority: Annotated[Int32, Rules("Lower is tried first.")] = 50
    endpoint: Annotated[Url, Rules("URL of the target; goes before every other way to find it.")] = ""
    api_key_secret: Annotated[SecretReference | None, Rules("Credential of the target.")] = msgspec.field(
        default=None, name="apiKeySecret"
    )
    parameters: Annotated[dict[str, str], Rules("Request parameters where the caller states none.")] = msgspec.field(
        default_factory=dict
    )
    enabled: Annotated[bool, Rules("The target may be chosen.")] = True
    cost_per_1m_input: Annotated[Money, Rules("Dollars for a million tokens of prompt.")] = msgspec.field(
        default="", name="costPer1MInput"
    )
    cost_per_1m_output: Annotated[Money, Rules("Dollars for a million tokens of answer.")] = msgspec.field(
        default="", name="costPer1MOutput"
    )
    conditions: Annotated[TargetConditions | None, Rules("Requests that the target takes; unset takes all.")] = None
    max_concurrency: Annotated[Int32 | None, Rules("Requests in flight at most.", minimum=1)] = msgspec.field(
        default=None, name="maxConcurrency"
    )
    capabilities: Annotated[
        tuple[TargetCapability, ...], Rules("prefill: goes on from the beginning of an answer.")
    ] = ()
    context_length: Annotated[
        Int32 | None,
        Rules(
            "Tokens of prompt and answer that the model takes; tells where a prompt too long for others fits.",
            minimum=1,
        ),
    ] = msgspec.field(default=None, name="contextLength")
    version: Annotated[Version, Rules("Version of the model; an alias with @VERSION asks for it.")] = ""
