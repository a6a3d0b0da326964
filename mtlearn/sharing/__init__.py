"""What sharing does: strategies for many tasks, compared on held-out rows."""
