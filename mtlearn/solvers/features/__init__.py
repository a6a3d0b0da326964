"""A smooth loss plus a penalty that features or directions share."""
