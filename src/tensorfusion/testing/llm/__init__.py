"""A simulated model server: OpenAI's and Anthropic's wires, no model.

What it says is a pure function of what it is asked; how fast, and how it fails, is told to it. For tests of gateways
and clients, for demonstrations, and as the other end of a benchmark.

```python
async with LlmServer(Settings(tpot=0.01)) as server:
    client = AsyncOpenAI(base_url=f"{server.url}/v1", api_key="any")
```
"""

from tensorfusion.testing.llm.faults import Rule
from tensorfusion.testing.llm.seen import End, Seen
from tensorfusion.testing.llm.server import LlmServer
from tensorfusion.testing.llm.settings import Settings

__all__ = ["End", "LlmServer", "Rule", "Seen", "Settings"]
