"""Recorders: where live recordings come from."""
