"""Marginal likelihood: variances of groups of coefficients, learned from moments."""
