"""Which devices of a node a pod gets, written down plainly: every combination looked at, one pair after the other.

Beside the reference scheduler, and like it without any code of ``tensorfusion.scheduling`` but the fact types.
"""

from itertools import combinations

from tensorfusion.model.gpu_topology import TopologyRule
from tensorfusion.scheduling.facts import DeviceFacts

UNKNOWN = 3


def nearest(
    fitting: list[DeviceFacts], everyone: list[DeviceFacts], own: list[int], *, count: int, rule: TopologyRule
) -> tuple[list[DeviceFacts], int, int]:
    """The devices to take of those that fit (in order, with their scores), the tier of these, and their affinity.

    ``everyone`` are the devices of the node in the pool: distances to others do not count.
    """
    score = {device.name: points for device, points in zip(fitting, own, strict=True)}
    by_score = sorted(fitting, key=lambda device: -score[device.name])
    told = any(device.numa >= 0 or device.peers for device in everyone)
    if not rule.enabled or not told:
        return by_score[:count], UNKNOWN, 0
    by_links = rule.source == "vendor" or (rule.source == "auto" and any(device.peers for device in fitting))
    by_links = by_links and any(device.peers for device in everyone)
    if count == 1:
        if rule.least_damage:
            by_score.sort(key=lambda device: _beside(device, fitting, by_links=by_links))
        return by_score[:1], 0, 0
    ways = []
    for chosen in combinations(fitting, count):
        tier, affinity, left, rate = _compare(chosen, fitting, by_links=by_links)
        places = [fitting.index(device) for device in chosen]
        ways.append((tier, -affinity, left, -rate, -sum(score[device.name] for device in chosen), places))
    best = min(ways)
    return [fitting[place] for place in best[5]], best[0], -best[1]


def harmless(
    alike: list[DeviceFacts], fitting: list[DeviceFacts], everyone: list[DeviceFacts], *, rule: TopologyRule
) -> DeviceFacts:
    """Of devices that are as good as each other (in order) the one with the fewest others near it, of all that fit."""
    told = any(device.numa >= 0 or device.peers for device in everyone)
    if not rule.enabled or not told or not rule.least_damage:
        return alike[0]
    by_links = rule.source == "vendor" or (rule.source == "auto" and any(device.peers for device in fitting))
    by_links = by_links and any(device.peers for device in everyone)
    return min(alike, key=lambda device: _beside(device, fitting, by_links=by_links))


def _compare(
    chosen: tuple[DeviceFacts, ...], fitting: list[DeviceFacts], *, by_links: bool
) -> tuple[int, int, int, int]:
    pairs = [_distance(one, other, by_links=by_links) for one, other in combinations(chosen, 2)]
    tier = max(pair[0] for pair in pairs)
    points = sum((10, 6, 2, 0)[pair[0]] if by_links else (0, 10, 2, 0)[pair[0]] for pair in pairs)
    if not by_links and tier == 1:
        same = sum(device.numa == chosen[0].numa for device in fitting)
        affinity = max(50, 100 - 5 * (same - len(chosen)))
    else:
        affinity = (20 * points + len(pairs)) // (2 * len(pairs))  # percent of ten points a pair, halves up
    left = 0
    for device in fitting:
        if device not in chosen:
            left += any(_is_beside(device, one, by_links=by_links) for one in chosen)
    return tier, affinity, left, sum(pair[1] for pair in pairs)


def _distance(one: DeviceFacts, other: DeviceFacts, *, by_links: bool) -> tuple[int, int]:
    if by_links:
        links = [(tier, rate) for name, tier, rate in one.peers if name == other.name]
        links += [(tier, rate) for name, tier, rate in other.peers if name == one.name]
        if links:
            return min(tier for tier, _ in links), max(rate for _, rate in links)
    if one.numa < 0 or other.numa < 0:
        return UNKNOWN, 0
    return 1 if one.numa == other.numa else 2, 0


def _is_beside(device: DeviceFacts, one: DeviceFacts, *, by_links: bool) -> bool:
    """Whether ``device`` is as near to one that is taken as it gets, which must say so itself."""
    if by_links:
        return bool(one.peers) and _distance(one, device, by_links=True)[0] == 0
    return one.numa >= 0 and one.numa == device.numa


def _beside(device: DeviceFacts, fitting: list[DeviceFacts], *, by_links: bool) -> int:
    """How many that fit are as near to this one as it gets, itself included; 0 for one that reports nothing."""
    if not (device.peers if by_links else device.numa >= 0):
        return 0
    return sum(other is device or _is_beside(other, device, by_links=by_links) for other in fitting)
