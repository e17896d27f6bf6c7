"""Which targets a request may go to by their conditions alone."""

from tensorfusion.policy.routing.asks import PRIORITY_RANKS, Ask
from tensorfusion.policy.routing.route import Conditions, Route


def allowed(route: Route, ask: Ask) -> int:
    """The mask of the targets that take the request: of the version it asks for, with all conditions met."""
    mask = of_version(route, ask.model) if route.aliases else route.every
    if route.conditional:
        for target in route.targets:
            if target.conditions is not None and unmet(target.conditions, ask):
                mask &= ~target.bit
    return mask


def of_version(route: Route, model: str) -> int:
    """The mask of the targets that a model's name asks for: ``alias@version`` those of the version, others all."""
    if model in route.versions:
        return route.versions[model]
    alias, at, _ = model.rpartition("@")
    return 0 if at and alias in route.aliases else route.every


def unmet(conditions: Conditions, ask: Ask) -> str:
    """The first condition that the request does not meet, in words; empty where it meets all."""
    if ask.prompt_tokens < conditions.min_tokens:
        return f"takes prompts from {conditions.min_tokens} tokens, this has about {ask.prompt_tokens}"
    if conditions.max_tokens is not None and ask.prompt_tokens > conditions.max_tokens:
        return f"takes prompts up to {conditions.max_tokens} tokens, this has about {ask.prompt_tokens}"
    if conditions.min_rank >= 0 and PRIORITY_RANKS[ask.priority] < conditions.min_rank:
        least = next(name for name, rank in PRIORITY_RANKS.items() if rank == conditions.min_rank)
        return f"takes priority {least} and above, this has {ask.priority}"
    if conditions.pattern is not None and not conditions.pattern.found_in(ask.last_user_message):
        return "its requestPattern does not match the last user message"
    return ""
