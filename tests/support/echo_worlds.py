"""Scenes in which sources have echoes, drawn in double precision with the tests' own steering vectors."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from oracle import elements, steering
from worlds import World, world

from risloc.estimation.wave_fit import wave_responses
from risloc.estimation.waves import Waves
from risloc.physics.geometry import polar_of
from risloc.scenes.batch import Echoes


@dataclass(frozen=True)
class EchoWorld:
    """A world of direct waves, and the images of its sources: place [batch, src, path, 3], gain [batch, src, path]."""

    world: World
    place: torch.Tensor
    gain: torch.Tensor

    @property
    def waves(self) -> Waves:
        """The true waves, in order."""
        return self.listed.ordered()

    @property
    def listed(self) -> Waves:
        """The true waves: the direct wave of each source, then its echoes as they are listed here."""
        w = self.world
        batch, most, paths = self.gain.shape
        polar = torch.cat([w.polar[:, :, None], polar_of(self.place)], dim=2).flatten(1, 2)
        gain = torch.cat([torch.ones_like(self.gain[..., :1]), self.gain], dim=2).flatten(1)
        source = torch.arange(most).repeat_interleave(1 + paths).expand(batch, -1)
        present = w.present.repeat_interleave(1 + paths, dim=1)
        return Waves(polar, source, gain, present, most)

    @property
    def echoes(self) -> Echoes:
        """The true echoes; those of absent sources have the gain 0."""
        return Echoes(location=self.place, gain=self.gain * self.world.present[..., None])


def echo_world(scenario, counts, *, paths=2, level_db=-6.0, snr_db=20.0, seed=0, noise=True, **options):
    """`world` with echoes from farther away; `level_db` is the exact power of the echoes of a source together."""
    w = world(scenario, counts, seed=seed, noise=False, **options)
    rng = np.random.default_rng([seed, 77])
    B, K = w.present.shape
    xy = elements(scenario.n_h, scenario.n_v, scenario.wavelength)
    place = np.zeros((B, K, paths, 3))
    place[..., 0] = np.radians(rng.uniform(-65, 65, (B, K, paths)))
    place[..., 1] = np.radians(rng.uniform(-50, 50, (B, K, paths)))
    place[..., 2] = w.location[..., 2:].numpy() * rng.uniform(1.3, 3.0, (B, K, paths))
    gain = np.exp(2j * np.pi * rng.random((B, K, paths))) * 10 ** (rng.uniform(-3, 3, (B, K, paths)) / 20)
    gain *= np.sqrt(10 ** (level_db / 10) / (np.abs(gain) ** 2).sum(-1, keepdims=True)) if paths else 1
    A = w.A.numpy().copy()
    for b, k, j in np.ndindex(gain.shape):
        A[b, :, k] += gain[b, k, j] * steering(xy, scenario.wavelength, *place[b, k, j])
    o = w.observation
    model = np.einsum("bmn,bln,bnk,bkl->blm", o.H.numpy(), o.codebook.numpy(), A, w.symbols.numpy())
    noise_var = (np.abs(model) ** 2).mean((1, 2)) / 10 ** (snr_db / 10)
    white = rng.standard_normal((2, *model.shape))
    y = model + noise * (white[0] + 1j * white[1]) * np.sqrt(noise_var / 2)[:, None, None]
    observation = dataclasses.replace(o, y=torch.from_numpy(y), noise_var=torch.from_numpy(noise_var))
    return EchoWorld(
        dataclasses.replace(w, observation=observation, A=torch.from_numpy(A)),
        torch.from_numpy(place),
        torch.from_numpy(gain),
    )


def with_waves(e, s, waves):
    """The sensing `s` of the world with other waves, listed in the same order, and the same symbols and noise."""
    before, after = ((wave_responses(s, x) * e.world.symbols.mT[..., None]).sum(2) for x in (e.listed, waves))
    return dataclasses.replace(s, y=s.y - before + after)
