"""What estimators share: checks, fits, grids, folds."""
