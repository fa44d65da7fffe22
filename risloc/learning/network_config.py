"""The section `network` of params.yaml."""

from dataclasses import dataclass

from risloc.config import param

__all__ = ["NetworkConfig"]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The size and the head of the network."""

    head: str = param("factors on the array manifold, or unconstrained", choices=("manifold", "free"))
    channels: int = param("feature channels of the residual convolutions", ge=8, le=1024)
    blocks: int = param("residual blocks of two 3 x 3 convolutions in each pass", ge=1, le=64)
    passes: int = param(
        "passes over the snapshots; each one after the first starts from the sources that the one before found",
        ge=1,
        le=16,
    )
    amp: bool = param(
        "mixed precision in convolutions and real matrix products if the device supports it, in training and in use"
    )

    @property
    def residual_weights(self) -> int:
        """The number of weights in the 3 x 3 convolutions of all residual blocks, which are nearly all weights of a network."""
        return self.passes * self.blocks * 2 * 9 * self.channels**2
