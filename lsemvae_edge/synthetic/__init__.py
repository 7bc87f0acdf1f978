"""Recordings that never came from a person: a simulated heart, and signals that are no ECG at all."""
