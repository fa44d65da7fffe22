"""Scenes: what is drawn, from which parameters, and by which channel."""
