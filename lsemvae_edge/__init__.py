"""From LS-EMVAE, a variational autoencoder in which every ECG lead is a modality, to a six-lead device.

Research software, not a medical device. Importing this package imports nothing
heavy: each part is imported where it is used.
"""

__version__ = "0.1.0"
