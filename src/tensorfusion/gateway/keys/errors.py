"""Why a request is not let in, in the contract's words. No message holds more of a key than its first characters.

KeyRefused
├── InvalidKey          401: none, unknown, disabled or past its end
└── NotPermitted        403: the key is good, but not for this
    ├── ScopeMissing
    ├── ModelNotAllowed
    └── RouteNotAllowed

Source: the platform's contract, 3.2 and 3.3.
"""

from typing import ClassVar

from tensorfusion.errors import TensorFusionError


class KeyRefused(TensorFusionError):
    """``status``, ``type``, ``code`` and ``param`` are what the caller is told, beside the message."""

    status: ClassVar[int]
    type: ClassVar[str]
    code: ClassVar[str]
    param: ClassVar[str] = ""


class InvalidKey(KeyRefused):
    """Nobody is known by what came."""

    status, type, code = 401, "authentication_error", "invalid_api_key"


class NotPermitted(KeyRefused):
    """The caller is known, and may not do this."""

    status, type, code = 403, "permission_error", "not_permitted"


class ScopeMissing(NotPermitted):
    """The key is for other things."""

    code = "scope_missing"


class ModelNotAllowed(NotPermitted):
    """The key is for other models."""

    code, param = "model_not_allowed", "model"


class RouteNotAllowed(NotPermitted):
    """The key is for other routes."""

    code = "route_not_allowed"
