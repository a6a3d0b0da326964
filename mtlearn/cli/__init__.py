"""The shell command: from a file to predictions."""

from .parser import main
from .saved import SavedModel

__all__ = ["SavedModel", "main"]
