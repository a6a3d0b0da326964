"""The shared nonlinear mapping."""
