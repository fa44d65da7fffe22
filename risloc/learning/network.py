"""The network: snapshots to the low-rank factors of R_pred, through a map of where the energy comes from.

The input is physics: the least-squares snapshots are back-projected onto the (u, v, 1/r) grid, with the planes in 1/r as
channels. The channels are the mean, the geometric mean and the root mean square of the energies |a^H x_l|^2 over the
snapshots, because a source shows in every snapshot, but the interference of others in only some. Residual convolutions over
(v, u) turn these maps into a heat map of sources and, for each cell, an offset in (u, v), an inverse distance with its
spread, and a power. The strongest local maxima of the heat map are the K_MAX slots. The output is physics again: each slot is
a point of the array manifold (head `manifold`) or, to show why that matters, a pair of unconstrained factors (head `free`).

With more than one pass, the factors found so far give the posterior mean xhat_l = R G_l^H (G_l R G_l^H + sigma^2 I)^-1 y_l
of the field on the surface, R = p_tot R_pred. The next map shows xhat_l plus the back-projected residual of the snapshots,
(N / M) G_l^H (G_l G_l^H + rho I)^-1 (y_l - G_l xhat_l). This is the same back-projection, but the interference between
sources is reduced to what is still unexplained (the pseudo-data of approximate message passing).

Axes: batch B, src K_MAX, elem N, grid P V U.
"""

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from risloc.covariance.factored import CovarianceConfig, FactoredCovariance, hybrid_covariance
from risloc.covariance.snapshots import least_squares_snapshots, pseudo_snapshots, sample_covariance
from risloc.learning.network_config import NetworkConfig
from risloc.learning.network_layers import Look, OrderHead
from risloc.learning.prediction import MapOutput, Prediction
from risloc.physics.grid import GridConfig, PolarGrid, polar_grid
from risloc.physics.steering import steering_derivatives
from risloc.scenes.batch import Observation
from risloc.scenes.scenario import Scenario
from risloc.utils.device import mixed_precision

__all__ = ["HybridNetwork"]


LEAST_PROBABILITY = 1e-4


class HybridNetwork(nn.Module):
    """The network, which maps an observation to a `Prediction` and to R_blend.

    It knows the array, the domain and the grid for which it was built.

    Parameters
    ----------
    scenario
        The array, the domain and K_MAX.
    grid
        The grid of the maps.
    covariance
        The weight beta of R_samp in R_blend.
    config
        The size and the head.
    """

    projection: Tensor

    def __init__(
        self, scenario: Scenario, grid: GridConfig, covariance: CovarianceConfig, config: NetworkConfig
    ) -> None:
        super().__init__()
        self.scenario, self.grid_config, self.covariance_config, self.config = scenario, grid, covariance, config
        self.surface = scenario.surface
        self.array, self.domain = self.surface.array, self.surface.domain
        self._grid = polar_grid(self.surface, grid)
        # Maps (Re x, Im x) to the real and then the imaginary part of a^H x / sqrt N at every grid point. These are at most sqrt N,
        # so that half precision does not overflow.
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
        self.float()  # independent of torch's default

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
        """Predict the factors from snapshots, codes, H and sigma^2.

        Parameters
        ----------
        observation
            The scenes.

        Returns
        -------
        Prediction
            The prediction of the last pass.
        """
        return self._look(observation, self.snapshots(observation))

    def blend(self, observation: Observation) -> tuple[Prediction, FactoredCovariance, FactoredCovariance]:
        """Predict, and blend the prediction with the sample covariance; the least-squares snapshots are computed only once.

        Parameters
        ----------
        observation
            The scenes.

        Returns
        -------
        tuple
            The prediction, R_samp and R_blend.
        """
        x = self.snapshots(observation)
        prediction, R_samp = self._look(observation, x), sample_covariance(x)
        training = self.training and torch.is_grad_enabled()
        return prediction, R_samp, hybrid_covariance(prediction.R_pred, R_samp, self.beta, training=training)

    def presence_at(
        self, prediction: Prediction, polar: Float[Tensor, "batch place 3"]
    ) -> Float[Tensor, "batch place"]:
        """Compute the probability that a source lies in the 3 x 3 cells around each location, interpolated between cells.

        Parameters
        ----------
        prediction
            The prediction.
        polar : [batch, place, 3]
            (u, v, w) of the locations; w does not enter.

        Returns
        -------
        [batch, place]
            The probabilities.
        """
        near = _near(prediction.output.heat.sigmoid())
        u, v = self.grid.u, self.grid.v
        low, span = torch.stack([u[0], v[0]]), torch.stack([u[-1] - u[0], v[-1] - v[0]]).clamp_min(1e-6)
        where = (2 * (polar[..., :2] - low) / span - 1).to(near.dtype)[:, None]
        return functional.grid_sample(near, where, padding_mode="border", align_corners=True)[:, 0, 0].clamp(0, 1)

    def _look(self, observation: Observation, x: Complex[Tensor, "batch elem snap"]) -> Prediction:
        """Run one pass after the other; no gradient flows from one to the next through the solver."""
        hidden: tuple[Tensor, ...] = ()
        earlier: tuple[Prediction, ...] = ()
        with mixed_precision(x.device, self.config.amp):
            for look in self.looks:
                assert isinstance(look, Look)
                if earlier:
                    x = pseudo_snapshots(observation, earlier[-1].R_pred)
                features = self.input_map(observation, x)
                hidden = (look.hidden(torch.cat([features, *hidden], dim=1)),)
                earlier = (*earlier, self._decode(self._dense(look, features, hidden[0]), earlier))
        return earlier[-1]

    @staticmethod
    @torch.no_grad()
    def snapshots(observation: Observation) -> Complex[Tensor, "batch elem snap"]:
        """Compute the least-squares snapshots x_l; no gradient flows through the solver.

        Parameters
        ----------
        observation
            The scenes.

        Returns
        -------
        [batch, elem, snap]
            The snapshots.
        """
        return least_squares_snapshots(observation)

    @torch.no_grad()
    def input_map(
        self, observation: Observation, x: Complex[Tensor, "batch elem snap"]
    ) -> Float[Tensor, "batch feature V U"]:
        """Compute the input of a pass from the energies e_l = |a^H x_l|^2 / N of trace-normalised x at each grid point.

        Parameters
        ----------
        observation
            The scenes, for their signal-to-noise ratio.
        x : [batch, elem, snap]
            The snapshots of the field on the surface.

        Returns
        -------
        [batch, feature, V, U]
            P planes of each of these: the mean of e_l over the snapshots, the log of that mean, and the logs of the geometric
            mean and of the root mean square. The last feature is log10 of mean |y|^2 / sigma^2, the same in every cell.
        """
        planes, rows, columns = self.grid.shape
        batch, elem, snap = x.shape
        x = sample_covariance(x).factor.permute(1, 2, 0).reshape(elem, snap * batch) * snap**0.5
        real, imaginary = (self.projection @ torch.cat([x.real, x.imag])).view(2, -1, snap, batch)
        energy = torch.addcmul(real * real, imaginary, imaginary)  # in half precision if the product is
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
        """Turn the dense maps into slots, and the slots into factors."""
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
        """Find the strongest local maxima of the heat map; their presence is the probability summed over 3 x 3 cells."""
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
        """Return a(location), and sigma P_perp(a) da/d(1/r) with sigma bounded so that the energy is at most N / 4."""
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


def _near(probability: Float[Tensor, "batch V U"]) -> Float[Tensor, "batch 1 V U"]:
    """Sum over the 3 x 3 neighbourhood of each cell."""
    return functional.avg_pool2d(probability[:, None], 3, 1, 1, divisor_override=1)


def _gather(values: Tensor, cell: Tensor) -> Tensor:
    return values.gather(1, cell[..., None].expand(-1, -1, values.shape[-1]))
