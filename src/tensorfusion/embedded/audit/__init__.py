"""The audit log: who did what to which object, when, and what came of it."""
