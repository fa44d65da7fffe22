"""Where figures draw echoes: at their images, but no farther than a multiple of the farthest source.

The distance of a weak echo is poorly determined, and a far image would shrink everything else.

Axes: image, dim (x, y, z, or the two coordinates of a plane), line.
"""

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["ECHO", "FARTHEST", "drawn_images", "joints"]

ECHO = "echo, joined to its source"
"""The entry of the legend."""

FARTHEST = 2.0
"""The largest distance of a drawn image, in multiples of that of the farthest source."""


def drawn_images(image: Float[Tensor, "image 3"], sources: Float[Tensor, "src 3"]) -> Float[Tensor, "image 3"]:
    """Move each image that is too far towards the origin, so that its direction stays.

    Parameters
    ----------
    image : [image, 3]
        x, y, z of the images in metres.
    sources : [src, 3]
        x, y, z of the sources in metres; at least one.

    Returns
    -------
    [image, 3]
        Where the images are drawn.
    """
    limit = FARTHEST * sources.norm(dim=-1).max()
    return image * (limit / image.norm(dim=-1, keepdim=True)).clamp_max(1)


def joints(image: Float[Tensor, "image dim"], source: Float[Tensor, "image dim"]) -> Float[Tensor, "line dim"]:
    """Return the corners of the lines that join images to their sources, with a gap after each line.

    Parameters
    ----------
    image : [image, dim]
        The images.
    source : [image, dim]
        The source of each image.

    Returns
    -------
    [line, dim]
        Three rows per image, the last of which is NaN.
    """
    return torch.stack([source, image, torch.full_like(image, torch.nan)], dim=1).flatten(0, 1)
