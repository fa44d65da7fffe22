"""Train networks and use them: the hybrid, its losses, its K rules, and the checkpoints."""
