"""The nouns of a problem: tasks, forms, losses, penalties."""
