"""Box duals under a task kernel."""
