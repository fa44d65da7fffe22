"""From measurements to positions in the measurements' own units."""
