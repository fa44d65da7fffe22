"""The colours of all figures, which are distinguishable with any colour vision.

Grey is for what should stay in the background.

References
----------
Okabe and Ito, Color Universal Design, 2008 (without their yellow, which is too light for a line).
"""

__all__ = ["BLACK", "BLUE", "GREEN", "GREY", "ORANGE", "PALETTE", "PURPLE", "SKY_BLUE", "VERMILION"]

BLACK = "#000000"
BLUE = "#0072B2"
GREEN = "#009E73"
GREY = "#7F7F7F"
ORANGE = "#E69F00"
PURPLE = "#CC79A7"
SKY_BLUE = "#56B4E9"
VERMILION = "#D55E00"

PALETTE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY_BLUE, BLACK)
"""The colours of curves, in the order of their use."""
