"""The parts of ``tools/schema_facts.py``: a server to ask, what to ask, and how the answers are read."""
