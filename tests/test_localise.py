import dataclasses
import math

import pytest
import torch

from risloc.covariance import FactoredCovariance
from risloc.geometry import location_of, polar_of, position_of
from risloc.grid import GridConfig
from risloc.localise import Localiser, SearchConfig
from risloc.params import ParamError
from risloc.simulation import simulate as draw

SEARCH = SearchConfig(
    grid=GridConfig(step_beams=0.36, planes=3), rank=6, peaks=6, separation=0.05, pursuit_peaks=2, iterations=20
)


def test_slots_are_candidates_where_the_spectrum_has_no_peak(small_scenario):
    scenes = draw(small_scenario, seed=1, split="test", start=0, stop=8, snr_db=40.0, count=[0, 1, 1, 1, 2, 2, 2, 2])
    truth, localiser = scenes.truth, Localiser(small_scenario, SEARCH)
    location = torch.where(truth.present[..., None], truth.location, torch.tensor([0.0, 0.0, 1.0]))
    sensing, flat = localiser.sensing(scenes.observation), FactoredCovariance(torch.zeros(8, 16, 6).to(torch.complex64))
    [nothing] = localiser.refined(sensing, flat, truth.count)
    assert not nothing.present.any()
    [found] = localiser.refined(sensing, flat, truth.count, slots=polar_of(location))
    assert (found.present == truth.present).all()
    error = torch.cdist(position_of(location), position_of(location_of(found.polar)))
    assert error.masked_fill(~found.present[:, None], math.inf).amin(-1)[truth.present].median() < 0.05


def test_a_scene_without_sources_can_be_located(small_scenario):
    scenes = draw(small_scenario, seed=1, split="test", start=0, stop=4, count=[0, 1, 0, 3])
    localiser = Localiser(small_scenario, SEARCH)
    [found] = localiser.pursuit(localiser.sensing(scenes.observation), scenes.observation, scenes.truth.count)
    assert found.present.sum(1).tolist() == [0, 1, 0, 3]


def test_fewer_candidates_than_sources_are_refused(small_scenario):
    with pytest.raises(ParamError, match=r"search\.peaks: expected more candidates than K_MAX = 3, got 3"):
        Localiser(small_scenario, dataclasses.replace(SEARCH, peaks=3))


def test_snapshots_that_are_not_finite_are_named(small_scenario):
    observation = draw(small_scenario, seed=1, split="test", start=0, stop=4).observation
    observation.y[2, 0, 1] = math.nan
    with pytest.raises(ValueError, match=r"y: expected finite snapshots, got others in the scenes \[2\]"):
        Localiser(small_scenario, SEARCH).sensing(observation)
