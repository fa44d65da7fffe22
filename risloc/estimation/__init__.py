"""From a covariance or snapshots to sources."""
