"""The stages of the pipeline: one module each. Typed sections and paths go in, files and metrics come out."""
