"""Figures of scenes, codebooks, spectra and curves."""
