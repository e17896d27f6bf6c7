"""What a pod asks of the pods beside it: host ports that nobody else has, and where pods like others may be.

Apart from the other facts because nearly every pod has none of it. The rules are hashable in all their parts: what many
pods say in the same words is looked up and counted once.
"""

from dataclasses import dataclass

EVERY_ADDRESS = "0.0.0.0"  # noqa: S104  # the wire's own word, nothing is bound


@dataclass(frozen=True, slots=True)
class HostPort:
    """One port of the node's own network. ``address`` 0.0.0.0 takes it on every address."""

    port: int
    protocol: str = "TCP"
    address: str = EVERY_ADDRESS

    def __str__(self) -> str:
        at = "" if self.address == EVERY_ADDRESS else f"{self.address}:"
        return f"{at}{self.port}/{self.protocol}"


@dataclass(frozen=True, slots=True)
class PodRules:
    """All rules of one pod."""

    ports: tuple[HostPort, ...] = ()
