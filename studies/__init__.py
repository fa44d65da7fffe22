"""What makes the claims of the documentation: `python -m studies.NAME` runs a study and writes its page or its table."""
