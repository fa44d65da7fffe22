"""Scenes of a changed scenario, their steering vectors by the oracle, and whether their snapshots follow."""

import dataclasses

import numpy as np
from oracle import elements, steering

from risloc.scenes.simulation import simulate


def variant(scenario, **changes):
    mismatch = {f.name: changes.pop(f.name) for f in dataclasses.fields(scenario.mismatch) if f.name in changes}
    return dataclasses.replace(scenario, **changes, mismatch=dataclasses.replace(scenario.mismatch, **mismatch))


def with_echoes(scenario, law, **changes):
    return dataclasses.replace(scenario, echoes=dataclasses.replace(scenario.echoes, law=law, **changes))


def draw(scenario, stop=64, **options):
    return simulate(scenario, **{"seed": 7, "split": "train", "start": 0, "stop": stop, **options})


def steering_of(scenario, scenes, row):
    places = elements(scenario.n_h, scenario.n_v, scenario.wavelength, scenario.reference)
    sources = scenes.truth.location[row, : int(scenes.truth.count[row])].double().tolist()
    columns = [steering(places, scenario.wavelength, *source) for source in sources]
    return np.stack(columns, 1) if columns else np.zeros((scenario.size, 0))


def assert_snapshots_follow(scenes, row, A):
    """y_l = H diag(c_l) A s_l in a scene without noise, A and s_l of the sources that are present."""
    H = scenes.observation.H[row].numpy()
    for code, symbol, y in zip(
        scenes.observation.codebook[row].numpy(),
        scenes.truth.symbols[row, : A.shape[1]].numpy().T,
        scenes.observation.y[row].numpy(),
        strict=True,
    ):
        model = H @ np.diag(code) @ A @ symbol
        np.testing.assert_allclose(y, model, atol=2e-4 * np.abs(model).max())
