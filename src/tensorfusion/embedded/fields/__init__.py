"""Which manager owns which field of an object: the pure part of server-side apply."""
