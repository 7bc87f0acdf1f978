"""Firmware: the whole chain, from a front end's samples to a result, as C99 that proves itself."""
