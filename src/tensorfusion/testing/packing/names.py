"""The names that policies go by. A policy of one's own joins with ``register``."""

import re

from tensorfusion.errors import ConfigError
from tensorfusion.model.common import PlacementMode
from tensorfusion.suggestions import did_you_mean
from tensorfusion.testing.packing.baselines import BestFit, ExactGradientDescent, GradientDescent, Random
from tensorfusion.testing.packing.fragmentation_aware import FragmentationAware
from tensorfusion.testing.packing.policies import Factory
from tensorfusion.testing.packing.product import mode

_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z][a-z]+|[A-Z]+")


def name_of(wanted: PlacementMode) -> str:
    """A placement mode's name on the command line: ``CompactFirst`` is ``compact-first``."""
    return "-".join(_WORDS.findall(wanted.value)).lower()


_FACTORIES: dict[str, Factory] = {
    "random": Random,
    "bestfit": BestFit,
    "fgd": GradientDescent,
    "fgd-exact": ExactGradientDescent,
    "fragmentation-aware": FragmentationAware,
    **{name_of(one): mode(one) for one in PlacementMode if one is not PlacementMode.FRAGMENTATION_AWARE},
}


def register(name: str, factory: Factory) -> None:
    """Make a policy known by this name, in the place of one that was."""
    _FACTORIES[name] = factory


def names() -> list[str]:
    """Every name, in the order in which reports list them."""
    return list(_FACTORIES)


def factory_of(name: str) -> Factory:
    """The policy of this name.

    Raises:
        ConfigError: there is none; names the likely one.
    """
    found = _FACTORIES.get(name)
    if found is None:
        raise ConfigError(f"no policy {name!r}{did_you_mean(name, _FACTORIES)}")
    return found
