"""What a cluster writes down of its own life, for ``tensorfusion what-if`` and ``tensorfusion record``."""
