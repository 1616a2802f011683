"""Colours that people with any kind of colour vision can tell apart.

Okabe and Ito 2002, "Color Universal Design", figure 16; red, green, blue in 0..255.
"""

Colour = tuple[int, int, int]

BLACK: Colour = (0, 0, 0)
ORANGE: Colour = (230, 159, 0)
SKY_BLUE: Colour = (86, 180, 233)
GREEN: Colour = (0, 158, 115)
BLUE: Colour = (0, 114, 178)
VERMILLION: Colour = (213, 94, 0)
PURPLE: Colour = (204, 121, 167)

INK: Colour = (34, 34, 34)
PAPER: Colour = (255, 255, 255)
RIGHT = BLUE
WRONG = VERMILLION
