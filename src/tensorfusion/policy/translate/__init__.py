"""OpenAI's chat completions and Anthropic's messages, each said in the words of the other: requests, answers, streams
and errors.

Pure: bytes and events in, bytes and events out. What neither has to change - texts, schemas, pictures - stays the bytes
that came (``msgspec.Raw``): a large prompt is looked over once for each level that it lies below, and copied once. That
takes half to two thirds of the time of decoding and encoding it (``benchmarks/translate.py``).

Three rules hold everywhere, and each module has the table of what becomes of what:

- what both can say is said;
- what only the one that came can say is left out **and named in a warning**; where leaving it out would change what is
  asked for (a document, a picture that cannot be had, several answers), the request is refused: ``CannotTranslate``;
- a member that the one that came does not know is passed on as it is: it was meant for whoever answers.

``null`` says nothing, and neither does a setting that is what it would be without it.

| | to chat completions | to messages |
|---|---|---|
| requests | ``request_to_chat`` | ``request_to_messages`` |
| whole answers | ``answer_to_chat`` | ``answer_to_messages`` |
| streams | ``StreamToChat`` | ``StreamToMessages`` |
| errors | ``errors.error_to_chat`` | ``errors.error_to_messages`` |

Rejected: a third form that both are turned into first. Each new thing that one of them can say would have to be added
to it before it could pass, and a prompt would be decoded to be held in it.
"""

from tensorfusion.policy.translate.answer_to_chat import answer_to_chat
from tensorfusion.policy.translate.answer_to_messages import answer_to_messages
from tensorfusion.policy.translate.errors import error_to_chat, error_to_messages
from tensorfusion.policy.translate.pieces import CannotTranslate, Translated
from tensorfusion.policy.translate.request_to_chat import Flavour, request_to_chat
from tensorfusion.policy.translate.request_to_messages import request_to_messages
from tensorfusion.policy.translate.stream_to_chat import StreamToChat
from tensorfusion.policy.translate.stream_to_messages import StreamToMessages

__all__ = [
    "CannotTranslate",
    "Flavour",
    "StreamToChat",
    "StreamToMessages",
    "Translated",
    "answer_to_chat",
    "answer_to_messages",
    "error_to_chat",
    "error_to_messages",
    "request_to_chat",
    "request_to_messages",
]
