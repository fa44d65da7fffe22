"""Wave propagation: geometry, steering vectors, codebooks, channels."""
