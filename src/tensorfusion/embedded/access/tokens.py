"""Bearer tokens: a static file of users, and ServiceAccount tokens signed with the cluster's own key.

A ServiceAccount token is a JWT (ES256). Its signature is checked once and the outcome cached; what may change later,
its expiry and the objects it is bound to, is checked at each use.

Source: RFC 7519, RFC 7515; kube-apiserver --token-auth-file; bound service account tokens.
"""

import base64
import csv
import hashlib
import hmac
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from tensorfusion.clock import Clock
from tensorfusion.embedded.access.certificates import write_private
from tensorfusion.embedded.access.users import AUTHENTICATED, User, service_account
from tensorfusion.embedded.objects import new_uid
from tensorfusion.embedded.store import ObjectKey, Store
from tensorfusion.errors import ConfigError
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import NODES, PODS, SECRETS, SERVICE_ACCOUNTS

ISSUER = "https://kubernetes.default.svc"
AUDIENCES = (ISSUER, "https://kubernetes.default.svc.cluster.local")
ISSUER_PATH = "/.well-known/openid-configuration"
KEYS_PATH = "/openid/v1/jwks"
_MOST_CACHED = 4096
_LONGEST = 16_384
_BOUND = {"pod": PODS, "secret": SECRETS, "node": NODES}


class TokenError(Exception):
    """The token is none of ours, or no longer good. Never carries the token."""


def read_token_file(path: Path) -> dict[str, User]:
    """Users by the SHA-256 of their token, from lines ``token,user,uid,"group,group"``.

    Raises:
        ConfigError: a line has fewer than three columns; names the line, never the token.
    """
    found: dict[str, User] = {}
    for number, row in enumerate(csv.reader(io.StringIO(path.read_text("utf-8"))), 1):
        if not row or (len(row) == 1 and not row[0].strip()):
            continue
        if len(row) < 3 or not row[0]:
            raise ConfigError(f'{path}: line {number}: wanted token,user,uid,"group,group", found {len(row)} columns')
        groups = tuple(group.strip() for group in row[3].split(",") if group.strip()) if len(row) > 3 else ()
        found[_digest(row[0])] = User(row[1].strip(), (*groups, AUTHENTICATED), row[2].strip())
    return found


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class _Bound(msgspec.Struct, frozen=True):
    name: str = ""
    uid: str = ""


class _Kubernetes(msgspec.Struct, frozen=True):
    namespace: str = ""
    serviceaccount: _Bound = msgspec.field(default_factory=_Bound)
    pod: _Bound | None = None
    secret: _Bound | None = None
    node: _Bound | None = None


class _Claims(msgspec.Struct, frozen=True):
    iss: str
    sub: str
    exp: int
    aud: tuple[str, ...] | str = ()
    nbf: int = 0
    jti: str = ""
    kubernetes: _Kubernetes = msgspec.field(default_factory=_Kubernetes, name="kubernetes.io")


_CLAIMS = msgspec.json.Decoder(_Claims)


@dataclass(frozen=True, slots=True)
class Verified:
    """A token that holds: who it stands for and whom it was made for."""

    user: User
    audiences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Checked:
    """What never changes about a token: its signature was right."""

    claims: _Claims
    user: User


class AccountTokens:
    """Signs and verifies ServiceAccount tokens. The key lives in ``pki/sa.key``."""

    def __init__(self, key_path: Path, store: Store, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._key = _load_or_make(key_path)
        self._public = self._key.public_key()
        public = self._public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self._key_id = _b64(hashlib.sha256(public).digest())
        self._checked: dict[str, _Checked] = {}

    def sign(self, namespace: str, name: str, uid: str, *, seconds: int, audiences: tuple[str, ...], bound: Raw) -> str:
        """A new token. ``bound`` maps ``pod``, ``secret`` or ``node`` to name and uid."""
        now = int(self._clock.now().timestamp())
        claims = {
            "aud": list(audiences),
            "exp": now + seconds,
            "iat": now,
            "iss": ISSUER,
            "jti": new_uid(),
            "kubernetes.io": {"namespace": namespace, **bound, "serviceaccount": {"name": name, "uid": uid}},
            "nbf": now,
            "sub": f"system:serviceaccount:{namespace}:{name}",
        }
        header = {"alg": "ES256", "kid": self._key_id}
        signed = f"{_b64(msgspec.json.encode(header))}.{_b64(msgspec.json.encode(claims))}"
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def issuer(self, address: str) -> Raw:
        """What others need to check tokens by themselves; ``address`` is host and port of this server.

        Source: OpenID Connect Discovery 1.0.
        """
        return {
            "issuer": ISSUER,
            "jwks_uri": f"https://{address}{KEYS_PATH}",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }

    def keys(self) -> Raw:
        """The keys that tokens are signed with, as a JSON Web Key Set."""
        point = self._public.public_numbers()
        x, y = (_b64(number.to_bytes(32, "big")) for number in (point.x, point.y))
        key = {"use": "sig", "kty": "EC", "kid": self._key_id, "crv": "P-256", "alg": "ES256", "x": x, "y": y}
        return {"keys": [key]}

    def verify(self, token: str, audiences: tuple[str, ...] = AUDIENCES) -> Verified:
        """Who a token stands for, now.

        Raises:
            TokenError: malformed, foreign, expired, for another audience, or its account or bound object is gone.
        """
        checked = self._checked.get(token)
        if checked is None:
            checked = self._check_signature(token)
            if len(self._checked) >= _MOST_CACHED:
                self._checked.clear()
            self._checked[token] = checked
        claims = checked.claims
        now = self._clock.now().timestamp()
        if not claims.nbf <= now < claims.exp:
            raise TokenError("the token has expired")
        named = (claims.aud,) if isinstance(claims.aud, str) else claims.aud
        common = tuple(audience for audience in audiences if audience in named)
        if not common:
            raise TokenError(
                f"[invalid bearer token, token audiences {_quoted(named)} is invalid for the target audiences "
                f"{_quoted(audiences[:1] if audiences is AUDIENCES else audiences)}]"
            )
        self._check_objects(claims.kubernetes)
        return Verified(checked.user, common)

    def _check_signature(self, token: str) -> _Checked:
        parts = token.split(".")
        if len(parts) != 3 or len(token) > _LONGEST:
            raise TokenError("invalid bearer token")
        try:
            header = msgspec.json.decode(_unb64(parts[0]))
            signature = _unb64(parts[2])
            if not isinstance(header, dict) or header.get("alg") != "ES256" or len(signature) != 64:
                raise TokenError("invalid bearer token")
            encoded = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
            self._public.verify(encoded, f"{parts[0]}.{parts[1]}".encode(), ec.ECDSA(hashes.SHA256()))
            claims = _CLAIMS.decode(_unb64(parts[1]))
        except (ValueError, msgspec.MsgspecError, InvalidSignature, RecursionError) as error:
            raise TokenError("invalid bearer token") from error
        if claims.iss != ISSUER:
            raise TokenError("invalid bearer token")
        extra = {"authentication.kubernetes.io/credential-id": (f"JTI={claims.jti}",)}
        if claims.kubernetes.pod is not None:
            extra["authentication.kubernetes.io/pod-name"] = (claims.kubernetes.pod.name,)
            extra["authentication.kubernetes.io/pod-uid"] = (claims.kubernetes.pod.uid,)
        if claims.kubernetes.node is not None:
            extra["authentication.kubernetes.io/node-name"] = (claims.kubernetes.node.name,)
            if claims.kubernetes.node.uid:
                extra["authentication.kubernetes.io/node-uid"] = (claims.kubernetes.node.uid,)
        account = claims.kubernetes.serviceaccount
        return _Checked(claims, service_account(claims.kubernetes.namespace, account.name, account.uid, extra))

    def _check_objects(self, bound: _Kubernetes) -> None:
        account = bound.serviceaccount
        found = self._store.get(ObjectKey(SERVICE_ACCOUNTS.id, bound.namespace, account.name))
        if found is None or found.uid != account.uid:
            raise TokenError("the token's service account is gone")
        for kind, resource in _BOUND.items():
            reference = getattr(bound, kind)
            if reference is not None and not (kind == "node" and bound.pod is not None):  # there it says where, no more
                namespace = bound.namespace if resource.namespaced else ""
                held = self._store.get(ObjectKey(resource.id, namespace, reference.name))
                if held is None or held.uid != reference.uid:
                    raise TokenError(f"the {kind} that the token is bound to is gone")


class Tokens:
    """Every kind of bearer token, in one place."""

    def __init__(self, static: dict[str, User], accounts: AccountTokens) -> None:
        self._static = static
        self._accounts = accounts
        self._known: dict[str, User] = {}

    def verify(self, token: str, audiences: tuple[str, ...] = AUDIENCES) -> Verified:
        """Raises:
        TokenError: it is no good token.
        """
        user = self._known.get(token)
        if user is None:
            digest = _digest(token)
            for known, owner in self._static.items():
                if hmac.compare_digest(known, digest):
                    user = self._known[token] = owner
        if user is not None:
            common = tuple(audience for audience in audiences if audience in AUDIENCES)
            if not common:
                raise TokenError("invalid bearer token")
            return Verified(user, common)
        return self._accounts.verify(token, audiences)


def _load_or_make(path: Path) -> ec.EllipticCurvePrivateKey:
    if not path.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        write_private(
            path,
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )
        return key
    try:
        loaded = serialization.load_pem_private_key(path.read_bytes(), None)
    except ValueError as error:
        raise ConfigError(f"{path}: not a private key: {error}: delete it to make a new one (tokens end)") from error
    if not isinstance(loaded, ec.EllipticCurvePrivateKey) or not isinstance(loaded.curve, ec.SECP256R1):
        raise ConfigError(f"{path}: wanted a P-256 key: delete it to make a new one (tokens end)")
    return loaded


def _quoted(names: Sequence[str]) -> str:
    return "[" + " ".join(f'"{name}"' for name in names) + "]"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
