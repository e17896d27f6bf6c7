"""How a connection proves who it is: the bearer token of the moment and the TLS context.

Apart from the transport because both change without it: a token file is replaced by whoever rotates it.
"""

import ssl
import tempfile
from pathlib import Path

from tensorfusion.errors import ConfigError
from tensorfusion.kube.config import Connection


class TokenSource:
    """The Authorization header; a token from a file is read again when the file changes."""

    def __init__(self, connection: Connection) -> None:
        self._file = connection.token_file
        self._header = f"Bearer {connection.token}" if connection.token else None
        self._seen: tuple[int, int] | None = None

    def header(self) -> str | None:
        """The value of the header now; None where the connection has no token."""
        if self._file is not None:
            self._refresh(self._file)
        return self._header

    def _refresh(self, file: Path) -> None:
        try:
            found = file.stat()
            seen = (found.st_mtime_ns, found.st_ino)
            if seen != self._seen:
                token = file.read_text().strip()
                if token:
                    self._header, self._seen = f"Bearer {token}", seen
        except OSError as error:
            if self._header is None:
                raise ConfigError(f"token file {file}: cannot be read: {error}") from error
            # it is being replaced: the last token is good for a while


def tls_context(connection: Connection) -> ssl.SSLContext:
    """The trust and the client certificate of a connection.

    Raises:
        ConfigError: a certificate or key is not usable PEM.
    """
    try:
        context = ssl.create_default_context(cadata=connection.ca_data.decode() if connection.ca_data else None)
        if connection.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if connection.client_cert is not None and connection.client_key is not None:
            _load_pair(context, connection.client_cert, connection.client_key)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(f"{connection.server}: a certificate or key is not usable PEM: {error}") from error
    return context


def _load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """The ssl module reads certificates only from files: one that nobody else can read, for a moment."""
    with tempfile.TemporaryDirectory(prefix="tensorfusion-") as folder:
        pair = Path(folder) / "pair.pem"
        pair.touch(mode=0o600)
        pair.write_bytes(certificate + b"\n" + key)
        context.load_cert_chain(pair)
