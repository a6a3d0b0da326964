"""Quadratics and margins under constraints."""
