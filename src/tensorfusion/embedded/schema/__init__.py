"""What objects must look like: decode, default, prune, validate. ``schema.Schema`` is the face of it."""
