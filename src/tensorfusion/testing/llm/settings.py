"""What a simulated model server is started with, and what of it a request may use."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from tensorfusion.errors import ConfigError

MODEL: Final = "sim-small"


@dataclass(frozen=True, slots=True)
class Settings:
    """Counts are of tokens, times are in seconds."""

    models: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({MODEL: MODEL}))
    """Names that are served, and the weights behind each: two names of the same weights say the same."""
    adapters: tuple[str, ...] = ()
    """LoRA adapters, served under their own names beside the first model."""
    context_length: int = 131_072
    """Prompt and answer together."""
    ttft: float = 0.0
    """From the start of a request to its first token."""
    tpot: float = 0.0
    """From each token to the next."""
    concurrency: int = 0
    """Requests that run at once; more of them wait. 0: any number."""
    kv_tokens: int = 1 << 20
    """Tokens of all running requests together; who does not fit waits."""
    answer_tokens: int = 0
    """Of an answer that nothing else ends. 0: 8 to 64, as the prompt has it."""
    embedding_dimensions: int = 64
    api_key: str = ""
    """Asked of every request to a model; empty: none is."""
    faults: bool = False
    """Whether requests may choose how they fail."""
    stamps: bool = False
    """Whether events of streams tell when they were sent, for who measures what lies between."""
    seen: int = 10_000
    """Requests that are remembered; 0: none, for benchmarks."""
    most_body: int = 64 << 20
    """Bytes of a request's body."""

    def __post_init__(self) -> None:
        for name, value, least in (
            ("context length", self.context_length, 2),
            ("ttft", self.ttft, 0),
            ("tpot", self.tpot, 0),
            ("concurrency", self.concurrency, 0),
            ("kv-tokens", self.kv_tokens, 2),
            ("answer tokens", self.answer_tokens, 0),
            ("embedding dimensions", self.embedding_dimensions, 1),
            ("seen", self.seen, 0),
        ):
            if value < least:
                raise ConfigError(f"test server: {name} is {value}: wanted at least {least}")
        if not self.models:
            raise ConfigError("test server: no model: name at least one")
        twice = set(self.adapters) & set(self.models)
        if twice:
            raise ConfigError(f"test server: {min(twice)} is both a model and an adapter: give it one meaning")

    def weights_of(self, name: str) -> str | None:
        """What stands behind a name; None where nothing does."""
        found = self.models.get(name)
        return name if found is None and name in self.adapters else found
