"""Parts of the network: convolutions of one pass, residual blocks, and the head that learns the number of sources.

Axes: batch B.
"""

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["OrderHead"]

HIDDEN = 32  # units of the order head's two hidden layers


class OrderHead(nn.Module):
    """The head that maps the features of a selection path to logits of the orders 0..K_MAX.

    `risloc.learning.order_rule` fits it after the network has been trained; the losses of the network do not reach it.

    Parameters
    ----------
    K_MAX
        The largest number of sources.
    """

    fitted: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, K_MAX: int) -> None:
        super().__init__()
        inputs = 6 * (K_MAX + 1) + K_MAX
        self.register_buffer("fitted", torch.tensor(False))
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("deviation", torch.ones(inputs))
        sizes = (inputs, HIDDEN, HIDDEN, K_MAX + 1)
        self.linear = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))

    def start_with(self, features: Float[Tensor, "scene feature"]) -> None:
        """Draw new weights, and scale the inputs as these features are scaled.

        Parameters
        ----------
        features : [scene, feature]
            The features to be fitted.
        """
        for layer in self.linear:
            assert isinstance(layer, nn.Linear)
            layer.reset_parameters()
        self.mean.copy_(features.mean(0))
        self.deviation.copy_(features.std(0, correction=0) + 1e-3)
        self.fitted.fill_(True)

    def forward(self, features: Float[Tensor, "batch feature"], jitter: float = 0.0) -> Float[Tensor, "batch order"]:
        """Compute the logits of the orders.

        Parameters
        ----------
        features : [batch, feature]
            The features of `risloc.learning.order_rule.order_features`.
        jitter
            Standard deviation of noise on the scaled features, against overfitting.

        Returns
        -------
        [batch, order]
            The logits.
        """
        x = ((features - self.mean) / self.deviation).clamp(-5, 5)
        x = x + jitter * torch.randn_like(x) if jitter else x
        for layer in self.linear[:-1]:
            x = functional.gelu(layer(x))
        return self.linear[-1](x)


class Look(nn.Module):
    """The convolutions of one pass: a stem, residual blocks, and a head of `outputs` maps."""

    def __init__(self, inputs: int, outputs: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(inputs, channels, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))
        self.last = nn.Conv2d(channels, outputs, 1)
        self.plane_gain = nn.Parameter(torch.ones(()))

    @torch.no_grad()
    def start_with(self, rarity: float) -> None:
        """Make the outputs small at first, and expect `rarity` sources per cell."""
        assert self.last.bias is not None
        self.last.weight.mul_(0.1)
        self.last.bias.zero_()
        self.last.bias[0] = math.log(rarity)

    def hidden(self, features: Tensor) -> Tensor:
        """Map [batch, feature, V, U] to [batch, channel, V, U]."""
        return self.body(self.stem(features.contiguous(memory_format=torch.channels_last)))

    def head(self, hidden: Tensor) -> Tensor:
        """Map [batch, channel, V, U] to [batch, output, V, U]."""
        return self.last(functional.gelu(hidden))


class ResidualBlock(nn.Module):
    """x + conv(gelu(conv(gelu(x)))) with 3 x 3 kernels; the last convolution starts at zero, so no normalisation is needed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, channel, V, U] to the same shape."""
        return x + self.second(functional.gelu(self.first(functional.gelu(x))))
