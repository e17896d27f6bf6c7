"""Placement decisions: pure functions over numpy columns, and the ledger of who holds what."""
