"""Where a webhook is called: of admission, and of conversions.

Source: apiserver pkg/util/webhook/validation.go, texts seen through a real server.
"""

import json
from urllib.parse import urlsplit

from tensorfusion.embedded.schema.path import Path, Problem
from tensorfusion.embedded.schema.words import REQUIRED, complain, required
from tensorfusion.model.meta import Raw

_URL_TEXT = "desired format: https://host[/path]"


def check_client(client: Raw, path: Path, problems: list[Problem]) -> None:
    """A URL or a service, and what is wrong with it."""
    url, service = client.get("url"), client.get("service")
    if (url is None) == (service is None):
        problems.append(Problem(path, required("exactly one of url or service is required"), REQUIRED))
    elif url is not None:
        _check_url(url, (path, "url"), problems)
    elif service is not None:
        missing = [field for field in ("name", "namespace") if not service.get(field)]
        problems.extend(Problem(((path, "service"), field), required(), REQUIRED) for field in missing)
        target = service.get("path")
        if target:
            _check_service_path(target, ((path, "service"), "path"), problems)


def _check_url(url: str, path: Path, problems: list[Problem]) -> None:
    try:
        parts = urlsplit(url)
    except ValueError:  # what is wrong is the host
        why = "invalid host" if "]" in url or "[" not in url else "missing ']' in host"
        text = f"url must be a valid URL: parse {json.dumps(url, ensure_ascii=False)}: {why}; {_URL_TEXT}"
        problems.append(Problem(path, required(text), REQUIRED))
        return
    if parts.scheme != "https":
        complain(problems, path, parts.scheme, [f"'https' is the only allowed URL scheme; {_URL_TEXT}"])
    if not parts.netloc:
        complain(problems, path, "", [f"host must be specified; {_URL_TEXT}"])
    user = parts.netloc.rpartition("@")[0]
    for value, what in (
        (user, "user information is"),
        (parts.fragment, "fragments are"),
        (parts.query, "query parameters are"),
    ):
        if value:
            complain(problems, path, value, [f"{what} not permitted in the URL"])


def _check_service_path(target: str, path: Path, problems: list[Problem]) -> None:
    if not target.startswith("/"):
        complain(problems, path, target, ["must start with a '/'"])
    segments = target.removesuffix("/").split("/")[1:] if target.startswith("/") else ["", *target.split("/")[1:]]
    for index, segment in enumerate(segments if target != "/" else ()):
        if not segment:
            complain(problems, path, target, [f"segment[{index}] may not be empty"])
