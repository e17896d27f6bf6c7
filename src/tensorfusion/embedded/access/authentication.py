"""Who sent a request: bearer token, client certificate, and on whose behalf.

There are no anonymous users: what carries no identity, or a bad one, is refused with 401. Health checks are answered
before anybody is asked who they are.
"""

from collections.abc import Sequence
from urllib.parse import unquote

from tensorfusion.embedded.access.certificates import user_of
from tensorfusion.embedded.access.rbac import Rbac, refusal
from tensorfusion.embedded.access.rules import Attributes
from tensorfusion.embedded.access.tokens import TokenError, Tokens
from tensorfusion.embedded.access.users import (
    ANONYMOUS,
    AUTHENTICATED,
    UNAUTHENTICATED,
    User,
    account_of,
    service_account,
)
from tensorfusion.errors import BadRequest, Unauthorized

_MOST_CERTIFICATES = 1024
_EXTRA = b"impersonate-extra-"

Headers = Sequence[tuple[bytes, bytes]]


class Authenticator:
    """Finds the user of a request."""

    def __init__(self, tokens: Tokens, rbac: Rbac) -> None:
        self._tokens = tokens
        self._rbac = rbac
        self._certificates: dict[bytes, User | None] = {}

    def user(self, authorization: bytes | None, certificate: bytes | None) -> User:
        """The user behind an Authorization header, or else a client certificate that TLS has verified.

        Raises:
            Unauthorized: there is neither, or it is not good.
        """
        if authorization is not None:
            scheme, _, token = authorization.partition(b" ")
            if scheme.lower() == b"bearer":
                try:
                    return self._tokens.verify(token.strip().decode("ascii")).user
                except (TokenError, UnicodeDecodeError) as error:
                    raise Unauthorized("Unauthorized") from error
        if certificate is not None:
            found = self._of_certificate(certificate)
            if found is not None:
                return found
        raise Unauthorized("Unauthorized")

    def _of_certificate(self, certificate: bytes) -> User | None:
        if certificate not in self._certificates:
            if len(self._certificates) >= _MOST_CERTIFICATES:
                self._certificates.clear()
            self._certificates[certificate] = user_of(certificate)
        return self._certificates[certificate]

    def impersonated(self, user: User, headers: Headers) -> User:
        """The user that ``Impersonate-`` headers ask for, if the real one may act as that.

        Raises:
            Forbidden: the real user may not.
            BadRequest: groups or extras without a user.
        """
        name, uid, groups, extra = "", "", [], dict[str, tuple[str, ...]]()
        for key, value in headers:
            if not key.startswith(b"impersonate-"):
                continue
            text = value.decode("latin-1")
            if key == b"impersonate-user":
                name = text
            elif key == b"impersonate-uid":
                uid = text
            elif key == b"impersonate-group":
                groups.append(text)
            elif key.startswith(_EXTRA):
                field = unquote(key.removeprefix(_EXTRA).decode("latin-1"))
                extra[field] = (*extra.get(field, ()), text)
        if not name:
            if groups or extra or uid:
                raise BadRequest("requested groups, uid or extra without impersonating a user: set Impersonate-User")
            return user
        self._check(user, name, uid, groups, extra=extra)
        account = account_of(name)
        if account is not None and not groups:
            return service_account(*account, uid, extra)
        members = list(groups)
        if name == ANONYMOUS:
            members += [] if UNAUTHENTICATED in groups else [UNAUTHENTICATED]
        elif not {AUTHENTICATED, UNAUTHENTICATED} & set(groups):
            members.append(AUTHENTICATED)
        return User(name, tuple(members), uid, extra)

    def _check(
        self, user: User, name: str, uid: str, groups: Sequence[str], *, extra: dict[str, tuple[str, ...]]
    ) -> None:
        account = account_of(name)
        if account is not None:
            asked = [Attributes("impersonate", "", "serviceaccounts", "", account[1], account[0])]
        else:
            asked = [Attributes("impersonate", "", "users", "", name)]
        asked += [Attributes("impersonate", "", "groups", "", group) for group in groups]
        authentication = "authentication.k8s.io"
        if uid:
            asked.append(Attributes("impersonate", authentication, "uids", "", uid))
        for field, values in extra.items():
            asked += [Attributes("impersonate", authentication, "userextras", field, value) for value in values]
        for attributes in asked:
            if not self._rbac.allows(user, attributes):
                raise refusal(user, attributes)
