"""General helpers: files, progress, devices."""
