"""Image sources: the mirror images of positions in a shoebox, by one and by two reflections.

Axes: batch B, src K, image 24, wall 6, in the order low x, high x, low y, high y, low z, high z.
"""

import itertools

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["IMAGES", "hits", "mirror_images"]

_ALONG = [(), (0,), (1,), (0, 1), (1, 0)]  # at which ends of one axis a path is reflected, in the order from the source
_PATHS = [path for path in itertools.product(_ALONG, repeat=3) if 1 <= sum(map(len, path)) <= 2]

IMAGES = len(_PATHS)
"""Six images of one reflection and eighteen of two; the order of reflections at perpendicular walls does not matter."""


def mirror_images(
    position: Float[Tensor, "batch src 3"], walls: Float[Tensor, "batch 3 2"]
) -> Float[Tensor, "batch src image 3"]:
    """Mirror positions at the walls, w -> 2 wall - w for the coordinate along the wall's normal.

    In an empty shoebox each image has a path: the line from an image to any point of the room crosses the walls in their order.

    Parameters
    ----------
    position : [batch, src, 3]
        Positions in the room, along its axes.
    walls : [batch, 3, 2]
        The low and the high end of the room along each axis.

    Returns
    -------
    [batch, src, image, 3]
        The images.
    """
    columns = []
    for axis in range(3):
        along: dict[tuple[int, ...], Tensor] = {(): position[:, :, axis]}
        for ends in _ALONG[1:]:
            along[ends] = 2 * walls[:, axis, ends[-1], None] - along[ends[:-1]]
        columns.append(torch.stack([along[path[axis]] for path in _PATHS], -1))
    return torch.stack(columns, -1)


def hits() -> Bool[Tensor, "image wall"]:
    """List which walls reflect the path of each image; no wall does so twice.

    Returns
    -------
    [image, wall]
        True for a reflection.
    """
    return torch.tensor([[end in ends for ends in path for end in (0, 1)] for path in _PATHS])
