"""The command line: stands on the science, prints, and no module of the science imports it."""
