"""A smooth loss + relation: coupled linear systems, Newton steps."""
