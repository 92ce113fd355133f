"""Waveforms to features: log mel energies and MFCC, normalisation, SpecAugment, mixing; batched modules."""
