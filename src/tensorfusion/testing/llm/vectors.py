"""``/v1/embeddings`` and ``/v1/rerank``: answers that are numbers, a pure function of model and text.

Source: OpenAI API reference, embeddings; Jina and Cohere API references, rerank; vLLM's ``/rerank``.
"""

import base64
import math
import struct
from hashlib import blake2b
from typing import Final

import msgspec

from tensorfusion.testing.llm.refusals import too_long, unknown_model, wrong
from tensorfusion.testing.llm.settings import Settings
from tensorfusion.testing.llm.wire import Ticket, encode, read

MOST_DIMENSIONS: Final = 8192


class EmbeddingRequest(msgspec.Struct):
    model: str
    input: str | list[str | int | list[int]]
    encoding_format: str | None = None
    dimensions: int | None = None


class Document(msgspec.Struct):
    text: str = ""


class RerankRequest(msgspec.Struct):
    model: str
    query: str
    documents: list[str | Document]
    top_n: int | None = None
    return_documents: bool = True


_embedding: Final = msgspec.json.Decoder(EmbeddingRequest)
_rerank: Final = msgspec.json.Decoder(RerankRequest)


def embed(body: bytes, settings: Settings) -> tuple[bytes, str, int]:
    """The answer, the model, and the tokens that it took.

    Raises:
        Refusal: no such model, a wrong request, or a text beyond the context.
    """
    request = read(_embedding, body)
    weights = settings.weights_of(request.model)
    if weights is None:
        raise unknown_model(request.model)
    wanted = request.encoding_format or "float"
    if wanted not in ("float", "base64"):
        raise wrong(f"Invalid value: '{wanted}'. Supported values are: 'float' and 'base64'.", "encoding_format")
    size = request.dimensions if request.dimensions is not None else settings.embedding_dimensions
    if not 1 <= size <= MOST_DIMENSIONS:
        raise wrong(f"Invalid 'dimensions': expected 1 to {MOST_DIMENSIONS}, got {size}.", "dimensions")
    texts = _texts(request.input)
    tokens = [len(text.split()) for text in texts]
    if max(tokens) > settings.context_length:
        raise too_long(settings.context_length, max(tokens), None)
    rows = []
    for index, text in enumerate(texts):
        values = vector(f"{weights}\0{text}", size)
        spelled: object = values
        if wanted == "base64":
            spelled = base64.b64encode(struct.pack(f"<{size}f", *values)).decode()
        rows.append({"object": "embedding", "index": index, "embedding": spelled})
    total = sum(tokens)
    usage = {"prompt_tokens": total, "total_tokens": total}
    return encode({"object": "list", "data": rows, "model": request.model, "usage": usage}), request.model, total


def rerank(body: bytes, settings: Settings, ticket: Ticket) -> tuple[bytes, str, int]:
    """As ``embed``: documents by the share of the query's words that they hold, then by their vectors."""
    request = read(_rerank, body)
    weights = settings.weights_of(request.model)
    if weights is None:
        raise unknown_model(request.model)
    if request.top_n is not None and request.top_n < 1:
        raise wrong(f"Invalid 'top_n': expected a value >= 1, got {request.top_n}.", "top_n")
    texts = [document if isinstance(document, str) else document.text for document in request.documents]
    asked = set(request.query.lower().split())
    scored = []
    for index, text in enumerate(texts):
        shared = len(asked & set(text.lower().split())) / max(len(asked), 1)
        noise = vector(f"{weights}\0{request.query}\0{text}", 1, normal=False)[0]
        scored.append((0.9 * shared + 0.05 * (1 + noise), index))
    scored.sort(key=lambda each: (-each[0], each[1]))
    results = [
        {"index": index, "relevance_score": round(score, 6)}
        | ({"document": {"text": texts[index]}} if request.return_documents else {})
        for score, index in scored[: request.top_n]
    ]
    words = len(request.query.split())
    total = sum(words + len(text.split()) for text in texts)
    usage = {"prompt_tokens": total, "total_tokens": total}
    found = {"id": f"rerank-{ticket.name}", "model": request.model, "usage": usage, "results": results}
    return encode(found), request.model, total


def vector(text: str, size: int, *, normal: bool = True) -> list[float]:
    """So many numbers from -1 to 1, of length 1 together, each as a float of 32 bits holds it."""
    raw = b"".join(
        blake2b(text.encode("utf-8", "surrogatepass"), digest_size=64, salt=block.to_bytes(8)).digest()
        for block in range(-(-size // 16))
    )
    values = [value / (1 << 31) for value in struct.unpack_from(f"<{size}i", raw)]
    if normal:
        length = math.sqrt(sum(value * value for value in values)) or 1.0
        values = [value / length for value in values]
    return list(struct.unpack(f"<{size}f", struct.pack(f"<{size}f", *values)))


def _texts(given: str | list[str | int | list[int]]) -> list[str]:
    """Raises Refusal: nothing to embed."""
    if isinstance(given, str):
        return [given]
    if not given:
        raise wrong("Invalid 'input': expected at least one text.", "input")
    if all(isinstance(each, int) for each in given):
        return [" ".join(map(str, given))]
    return [each if isinstance(each, str) else " ".join(map(str, each)) for each in given if not isinstance(each, int)]
