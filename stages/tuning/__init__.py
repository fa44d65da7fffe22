"""The search for hyperparameters, and its result."""
