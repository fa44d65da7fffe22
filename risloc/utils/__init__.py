"""What knows nothing of waves: files, progress, devices."""
