"""The ``tensorfusion`` program: one command per file; heavy imports stay inside commands for quick start-up."""
