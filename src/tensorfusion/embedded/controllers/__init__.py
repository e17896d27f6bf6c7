"""Controllers of the embedded cluster for the workload kinds that users expect; a real cluster brings its own."""
