"""The network: snapshots to the low-rank factors of R_pred, through a map of where the energy comes from.

The input is physics: the least-squares snapshots back-projected onto the (u, v, 1/r) grid, the planes in 1/r as
channels, and of the energies |a^H x_l|^2 of all snapshots their mean, geometric mean and root mean square: a source shines
in every snapshot, the interference of others in some. Residual convolutions over (v, u) turn it into a heat map of sources with, in each cell, an offset in (u, v),
an inverse distance with its spread, and a power. The strongest local maxima of the heat map are the K_MAX slots. The
output is physics again: each slot is a point of the array manifold (head `manifold`), or, to show why that matters,
unconstrained factors (head `free`).

With more than one pass, the factors found so far give the posterior mean xhat_l = R G_l^H (G_l R G_l^H + sigma^2 I)^-1 y_l
of the field on the surface, R = p_tot R_pred, and the next map shows xhat_l plus what the snapshots say against it,
(N / M) G_l^H (G_l G_l^H + rho I)^-1 (y_l - G_l xhat_l): the same back-projection, with the sources' interference on one
another reduced to what is still unexplained (the pseudo-data of approximate message passing).

Axes: batch B, src K_MAX, elem N, grid P V U.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from risloc.config import param
from risloc.covariance.factored import CovarianceConfig, FactoredCovariance, hybrid_covariance
from risloc.covariance.snapshots import least_squares_snapshots, pseudo_snapshots, sample_covariance
from risloc.learning.network_layers import Look, OrderHead
from risloc.physics.grid import GridConfig, PolarGrid, polar_grid
from risloc.physics.steering import steering_derivatives
from risloc.scenes.batch import Observation
from risloc.scenes.scenario import Scenario
from risloc.utils.device import mixed_precision

__all__ = ["PRESENT", "HybridNetwork", "MapOutput", "NetworkConfig", "Prediction"]

PRESENT = 0.5
"""A slot whose presence is above this holds a source."""

LEAST_PROBABILITY = 1e-4


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The size and the head of the network."""

    head: str = param("factors on the array manifold, or unconstrained", choices=("manifold", "free"))
    channels: int = param("feature channels of the residual convolutions", ge=8, le=1024)
    blocks: int = param("residual blocks of two 3 x 3 convolutions in each pass", ge=1, le=64)
    passes: int = param("looks at the snapshots; each one but the first knows what the last one found", ge=1, le=16)
    amp: bool = param(
        "mixed precision in convolutions and real matrix products, where the device has it; in use as in training"
    )

    @property
    def residual_weights(self) -> int:
        """Numbers in the 3 x 3 convolutions of all residual blocks, nearly all of a network's."""
        return self.passes * self.blocks * 2 * 9 * self.channels**2


@dataclass(frozen=True, kw_only=True)
class MapOutput:
    """What the last layer says of each cell; the losses' gradients are checked here.

    heat : logit that a source lies in the cell.  polar : (u, v, w) of a source seen from the cell, not yet clamped.
    log_power : of that source, relative.  spread : logit of the spread of its inverse distance.
    features : the last hidden layer.
    """

    heat: Float[Tensor, "batch V U"]
    polar: Float[Tensor, "batch V U 3"]
    log_power: Float[Tensor, "batch V U"]
    spread: Float[Tensor, "batch V U"]
    features: Float[Tensor, "batch V U channel"]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Low-rank factors of R_pred and the slots that they were made from.

    cov_fact_angle, cov_fact_range : the factors A_ang and A_rng.  polar : (u, v, w) of each slot.
    power : linear, relative.  presence : probability that the slot holds a source.  output : the dense maps.
    earlier : the predictions of the passes before.
    """

    cov_fact_angle: Complex[Tensor, "batch elem src"]
    cov_fact_range: Complex[Tensor, "batch elem src"]
    polar: Float[Tensor, "batch src 3"]
    power: Float[Tensor, "batch src"]
    presence: Float[Tensor, "batch src"]
    output: MapOutput
    earlier: "tuple[Prediction, ...]"

    @property
    def R_pred(self) -> FactoredCovariance:
        """R_pred = A_ang A_ang^H + A_rng A_rng^H with trace N; rank at most 2 K_MAX."""
        return FactoredCovariance(torch.cat([self.cov_fact_angle, self.cov_fact_range], dim=-1)).normalised()


class HybridNetwork(nn.Module):
    """Observation to `Prediction`, and to R_blend; carries the array, domain and grid that it was built for."""

    projection: Tensor

    def __init__(
        self, scenario: Scenario, grid: GridConfig, covariance: CovarianceConfig, config: NetworkConfig
    ) -> None:
        super().__init__()
        self.scenario, self.grid_config, self.covariance_config, self.config = scenario, grid, covariance, config
        self.array, self.domain = scenario.array(), scenario.domain()
        self._grid = polar_grid(self.array, self.domain, grid)
        # (Re x, Im x) to Re, then Im, of a^H x / sqrt N at every grid point: at most sqrt N, which no half precision overflows.
        projection = self._grid.projection / self.array.size**0.5
        self.register_buffer("projection", projection, persistent=False)
        planes, rows, columns = self._grid.shape
        wide = [4 * planes + 1 + (config.channels if turn else 0) for turn in range(config.passes)]
        self.looks = nn.ModuleList(Look(inputs, planes + 6, config.channels, config.blocks) for inputs in wide)
        if config.head == "free":
            size = 4 * self.array.size
            self.free = nn.Sequential(nn.Linear(config.channels + 3, 256), nn.GELU(), nn.Linear(256, size))
        for look in self.looks:
            assert isinstance(look, Look)
            look.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            look.start_with(rarity=scenario.K_MAX / (rows * columns))
        self.order = OrderHead(scenario.K_MAX)
        self.float()  # whatever torch's default is

    @property
    def beta(self) -> float:
        """The weight of R_samp in R_blend."""
        return self.covariance_config.beta

    @property
    def grid(self) -> PolarGrid:
        """The polar grid, on the network's device."""
        device = next(self.parameters()).device
        if self._grid.steering.device != device:
            self._grid = self._grid.to(device)
        return self._grid

    def forward(self, observation: Observation) -> Prediction:
        """Snapshots, codes, H and sigma^2 to the factors; see `Prediction`."""
        return self._look(observation, self.snapshots(observation))

    def blend(self, observation: Observation) -> tuple[Prediction, FactoredCovariance, FactoredCovariance]:
        """The prediction, R_samp and R_blend of the observation, the snapshots solved for once."""
        x = self.snapshots(observation)
        prediction, R_samp = self._look(observation, x), sample_covariance(x)
        training = self.training and torch.is_grad_enabled()
        return prediction, R_samp, hybrid_covariance(prediction.R_pred, R_samp, self.beta, training=training)

    def presence_at(
        self, prediction: Prediction, polar: Float[Tensor, "batch place 3"]
    ) -> Float[Tensor, "batch place"]:
        """The probability that a source lies in the 3 x 3 cells around each place, between cells by interpolation."""
        near = _near(prediction.output.heat.sigmoid())
        u, v = self.grid.u, self.grid.v
        low, span = torch.stack([u[0], v[0]]), torch.stack([u[-1] - u[0], v[-1] - v[0]]).clamp_min(1e-6)
        where = (2 * (polar[..., :2] - low) / span - 1).to(near.dtype)[:, None]
        return functional.grid_sample(near, where, padding_mode="border", align_corners=True)[:, 0, 0].clamp(0, 1)

    def _look(self, observation: Observation, x: Complex[Tensor, "batch elem snap"]) -> Prediction:
        """Pass after pass; no gradient goes from one to the next through the solver."""
        hidden: tuple[Tensor, ...] = ()
        earlier: tuple[Prediction, ...] = ()
        with mixed_precision(x.device, self.config.amp):
            for look in self.looks:
                assert isinstance(look, Look)
                if earlier:
                    x = pseudo_snapshots(**_given(observation), R=earlier[-1].R_pred)
                features = self.input_map(observation, x)
                hidden = (look.hidden(torch.cat([features, *hidden], dim=1)),)
                earlier = (*earlier, self._decode(self._dense(look, features, hidden[0]), earlier))
        return earlier[-1]

    @staticmethod
    @torch.no_grad()
    def snapshots(observation: Observation) -> Complex[Tensor, "batch elem snap"]:
        """The least-squares snapshots x_l; no gradient goes through the solver."""
        return least_squares_snapshots(**_given(observation))

    @torch.no_grad()
    def input_map(
        self, observation: Observation, x: Complex[Tensor, "batch elem snap"]
    ) -> Float[Tensor, "batch feature V U"]:
        """The energies e_l = |a^H x_l|^2 / N of trace-normalised x at each grid point, over the snapshots, and the SNR.

        Features: P planes each of the mean of e_l, and of the logarithms of their mean, their geometric mean and their root
        mean square; log10 of mean |y|^2 / sigma^2 in every cell.
        """
        planes, rows, columns = self.grid.shape
        batch, elem, snap = x.shape
        x = sample_covariance(x).factor.permute(1, 2, 0).reshape(elem, snap * batch) * snap**0.5
        real, imaginary = (self.projection @ torch.cat([x.real, x.imag])).view(2, -1, snap, batch)
        energy = torch.addcmul(real * real, imaginary, imaginary)  # in half precision where the product was
        mean = energy.mean(1).float()
        geometric = (energy + 1e-3).log_().mean(1).float()
        square = (energy * energy).mean(1).float()
        logs = (mean.clamp_min(1e-4).log(), geometric, square.clamp_min(1e-6).log() / 2)
        maps = torch.stack([mean / 10, *(each / 2 for each in logs)])
        maps = maps.view(4 * planes, rows, columns, batch).permute(3, 0, 1, 2)
        snr = observation.y.abs().square().mean((-2, -1)) / observation.noise_var
        level = (snr.clamp(1e-3, 1e6).log10() / 2)[:, None, None, None].expand(-1, 1, rows, columns)
        return torch.cat([maps, level], dim=1)

    def _decode(self, output: MapOutput, earlier: tuple[Prediction, ...]) -> Prediction:
        """The dense maps to the slots, and those to the factors."""
        batch, rows, columns = output.heat.shape
        presence, cell = self._slots(output.heat)
        polar = self.domain.clamp(_gather(output.polar.reshape(batch, rows * columns, 3), cell))
        log_power = output.log_power.reshape(batch, -1).gather(1, cell)
        power = (log_power - log_power.amax(1, keepdim=True).detach()).exp()
        amplitude = (presence * power).clamp_min(1e-12).sqrt()
        if self.config.head == "free":
            hidden = _gather(output.features.reshape(batch, rows * columns, -1), cell)
            angle, range_ = self._free_factors(hidden, polar)
        else:
            spread = output.spread.reshape(batch, -1).gather(1, cell)
            angle, range_ = self._manifold_factors(polar, spread)
        return Prediction(
            cov_fact_angle=angle * amplitude[:, None, :],
            cov_fact_range=range_ * amplitude[:, None, :],
            polar=polar,
            power=power,
            presence=presence,
            output=output,
            earlier=earlier,
        )

    def _dense(self, look: "Look", features: Tensor, hidden: Tensor) -> MapOutput:
        grid = self.grid
        planes = len(grid.w)
        raw = look.head(hidden).float().permute(0, 2, 3, 1)
        log_map = features[:, planes : 2 * planes].permute(0, 2, 3, 1)
        weight = (raw[..., 6:] + look.plane_gain * 2 * log_map).softmax(-1)
        w = (weight * grid.w).sum(-1) + grid.step[2] * raw[..., 3]
        centre = torch.stack(torch.meshgrid(grid.v, grid.u, indexing="ij")[::-1], dim=-1)
        step = torch.tensor(grid.step[:2], dtype=raw.dtype, device=raw.device)
        uv = centre + 2 * step * raw[..., 1:3].tanh()
        return MapOutput(
            heat=raw[..., 0].masked_fill(~grid.inside, -20.0),
            polar=torch.cat([uv, w[..., None]], dim=-1),
            log_power=raw[..., 4] + (weight * 2 * log_map).sum(-1),
            spread=raw[..., 5],
            features=hidden.float().permute(0, 2, 3, 1),
        )

    def _slots(self, heat: Tensor) -> tuple[Float[Tensor, "batch src"], Int[Tensor, "batch src"]]:
        """The strongest local maxima of the heat map; presence is the probability summed over a peak's 3 x 3 cells."""
        probability = heat.sigmoid()
        near = _near(probability)[:, 0]
        with torch.no_grad():
            top = functional.max_pool2d(heat[:, None], 3, 1, 1)[:, 0]
            score = torch.where(heat == top, near, near * 1e-6).flatten(1)
            missing = self.scenario.K_MAX - score.shape[1]
            if missing > 0:
                raise ValueError(f"grid: expected at least K_MAX = {self.scenario.K_MAX} cells, got {score.shape[1]}")
            cell = score.topk(self.scenario.K_MAX, dim=1).indices
        presence = near.flatten(1).gather(1, cell)
        return presence.clamp(LEAST_PROBABILITY, 1.0), cell

    def _manifold_factors(self, polar: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
        """a(location), and sigma P_perp(a) da/d(1/r) with sigma bounded so that its energy is at most N / 4."""
        A, D = steering_derivatives(self.array, polar)
        n = A.shape[-2]
        slope = D[..., 2]
        slope = slope - A * ((A.conj() * slope).sum(-2, keepdim=True) / n)
        norm = torch.view_as_real(slope).square().sum((-3, -1)).sqrt().clamp_min(1e-6)
        bound = 0.5 * n**0.5
        return A, slope * (spread.sigmoid() * bound / norm)[:, None, :]

    def _free_factors(self, hidden: Tensor, polar: Tensor) -> tuple[Tensor, Tensor]:
        raw = self.free(torch.cat([hidden, polar], dim=-1)).float()
        angle, range_ = torch.view_as_complex(raw.reshape(*raw.shape[:2], 2, -1, 2).contiguous()).unbind(2)
        return angle.mT, 0.1 * range_.mT


def _given(observation: Observation) -> dict[str, Tensor]:
    return {name: getattr(observation, name) for name in ("y", "codebook", "H", "noise_var")}


def _near(probability: Float[Tensor, "batch V U"]) -> Float[Tensor, "batch 1 V U"]:
    """The sum over each cell's 3 x 3 neighbourhood."""
    return functional.avg_pool2d(probability[:, None], 3, 1, 1, divisor_override=1)


def _gather(values: Tensor, cell: Tensor) -> Tensor:
    return values.gather(1, cell[..., None].expand(-1, -1, values.shape[-1]))
