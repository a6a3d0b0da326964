"""Losses with kinks + relation: envelopes, sweeps, duals."""
