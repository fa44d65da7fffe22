"""The seven stages: one module each, typed sections and paths in, files and metrics out."""
