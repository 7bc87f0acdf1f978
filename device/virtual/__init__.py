"""Recorders without hardware: virtual firmware for every driver, on virtual or real controllers."""
