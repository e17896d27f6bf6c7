"""Who a request comes from, as authentication found out and admission and RBAC read it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
ANONYMOUS = "system:anonymous"
SERVICE_ACCOUNTS = "system:serviceaccounts"
_ACCOUNT_PREFIX = "system:serviceaccount:"


@dataclass(frozen=True, slots=True)
class User:
    """One identity. ``key`` is the same for the same name and groups: what decisions are cached under."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False, compare=False)
    key: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", "\0".join((self.name, *self.groups)))

    @property
    def is_master(self) -> bool:
        """Members of system:masters may do everything, whatever RBAC says."""
        return MASTERS in self.groups


SYSTEM = User("system:apiserver", (MASTERS, AUTHENTICATED))
"""The server itself: garbage collection, the life of namespaces, start-up."""


def service_account(namespace: str, name: str, uid: str, extra: Mapping[str, tuple[str, ...]] | None = None) -> User:
    """The identity of a ServiceAccount."""
    groups = (SERVICE_ACCOUNTS, f"{SERVICE_ACCOUNTS}:{namespace}", AUTHENTICATED)
    return User(f"{_ACCOUNT_PREFIX}{namespace}:{name}", groups, uid, extra or {})


def account_of(user_name: str) -> tuple[str, str] | None:
    """Namespace and name of the ServiceAccount behind a user name, None for other users."""
    if not user_name.startswith(_ACCOUNT_PREFIX):
        return None
    namespace, _, name = user_name.removeprefix(_ACCOUNT_PREFIX).partition(":")
    return (namespace, name) if namespace and name else None
