"""Where things are and what waves do: geometry, steering vectors, codebooks, channels."""
