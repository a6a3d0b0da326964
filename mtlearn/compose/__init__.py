"""What goes before the models in a pipeline, and leaves the column of ids alone."""

from .features import FeaturesOnly, features_only
from .tables import TablePreparer

__all__ = ["FeaturesOnly", "TablePreparer", "features_only"]
