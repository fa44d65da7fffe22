"""Waves and their sources: what a change of their order, their number or their owner may and may not change."""

import dataclasses

import pytest
import torch
from echo_worlds import echo_world
from worlds import roomy

from risloc.estimation.conditional import Sensing
from risloc.estimation.wave_fit import project_waves, wave_responses
from risloc.estimation.waves import Waves
from risloc.physics.steering import steering_matrix


@pytest.fixture(scope="module")
def scenes(scenario):
    return echo_world(dataclasses.replace(roomy(scenario), K_MAX=3, K_span=(0, 3)), [0, 1, 2, 3] * 4, snr_db=30)


def sensing(w):
    return Sensing.of(w.world.observation, w.world.scenario.surface)


def sums(w, waves):
    """at_k of every source, [batch, elem, src]."""
    return steering_matrix(w.world.scenario.surface.array, waves.polar) @ waves.composition


def parallel(a, b):
    return (a.conj() * b).sum(1).abs().square() / (a.abs().square().sum(1) * b.abs().square().sum(1)).clamp_min(1e-30)


def test_the_true_waves_give_the_arrived_waves(scenes):
    """`World.A` was drawn with the tests' own steering vectors, and holds direct waves and echoes."""
    waves, present = scenes.waves, scenes.world.present
    assert torch.equal(waves.count, scenes.world.count)
    assert torch.equal(waves.total, 3 * scenes.world.count)
    assert (parallel(sums(scenes, waves), scenes.world.A)[present] > 1 - 1e-12).all()


def test_order_changes_no_source_beyond_the_scale_of_its_symbols(scenes):
    generator = torch.Generator().manual_seed(3)
    shuffle = torch.rand(scenes.waves.present.shape, generator=generator).argsort(1)
    mixed = scenes.waves._taken(shuffle).ordered()
    assert torch.equal(mixed.count, scenes.waves.count)
    fits = [project_waves(sensing(scenes), each).cost for each in (scenes.waves, mixed)]
    assert torch.allclose(*fits, rtol=1e-9)


def test_ordered_waves_come_first_by_source_and_the_strongest_is_the_reference(scenes):
    waves = scenes.waves
    number = torch.where(waves.present, waves.source, waves.most)
    assert (number.diff(dim=1) >= 0).all()
    assert torch.equal(waves.gain[waves.reference], torch.ones_like(waves.gain[waves.reference]))
    assert (waves.gain.abs() <= 1 + 1e-12).all()
    assert (waves.gain[~waves.present] == 0).all()
    again = waves.ordered()
    assert all(torch.equal(x, y) for x, y in zip(waves._tensors, again._tensors, strict=True))


def test_a_joined_wave_adds_its_response(scenes):
    waves = scenes.waves._mapped(lambda x: torch.cat([x, torch.zeros_like(x[:, :1])], dim=1))
    rows = (waves.count > 0).nonzero()[:, 0]
    waves, batch = waves[rows], len(rows)
    polar = torch.tensor([0.1, 0.2, 0.5]).double().expand(batch, 3)
    gain = torch.full((batch,), 0.3 + 0.4j, dtype=torch.complex128)
    joined = waves.joined_by(polar, waves.count - 1, gain)
    added = sums(scenes, joined) - sums(scenes, waves)
    last = added.gather(2, (waves.count - 1)[:, None, None].expand(-1, added.shape[1], 1))[..., 0]
    a = steering_matrix(scenes.world.scenario.surface.array, polar[:1, None])[0, :, 0]
    assert torch.allclose(last, (0.3 + 0.4j) * a.expand(batch, -1))
    assert torch.equal(joined.count, waves.count)
    room = (waves.count < waves.most).nonzero()[:, 0]
    fresh = waves[room].joined_by(polar[room], waves.count[room], torch.ones_like(gain[room]))
    assert torch.equal(fresh.count, waves.count[room] + 1)


def test_merging_adds_the_other_source_with_its_ratio(scenes):
    rows = (scenes.waves.count == 3).nonzero()[:, 0]
    waves = scenes.waves[rows]
    before = sums(scenes, waves)
    zero, ratio = torch.zeros(len(rows), dtype=torch.long), torch.full((len(rows),), 0.5j, dtype=torch.complex128)
    merged = waves.merged(zero, zero + 2, ratio)
    assert (merged.count == 2).all()
    assert torch.equal(merged.total, waves.total)
    after = sums(scenes, merged)
    assert (parallel(after[..., 0], before[..., 0] + 0.5j * before[..., 2]) > 1 - 1e-12).all()
    assert torch.allclose(after[..., 1], before[..., 1])


def test_without_an_echo_its_source_stays_and_without_its_only_wave_it_goes(scenes):
    rows = (scenes.waves.count == 2).nonzero()[:, 0]
    waves = scenes.waves[rows]
    first = torch.zeros(len(rows), dtype=torch.long)
    less = waves.without(first)
    assert torch.equal(less.count, waves.count)
    assert torch.equal(less.total, waves.total - 1)
    assert torch.equal(less.gain[less.reference], torch.ones_like(less.gain[less.reference]))
    alone = less.without(first).without(first)
    assert (alone.count == 1).all()


def test_trimmed_slots_come_back(scenes):
    waves = scenes.waves[(scenes.waves.count <= 1).nonzero()[:, 0]]
    short = waves.trimmed()
    assert short.present.shape[1] == 3
    back = short.in_slots_of(waves)
    assert all(torch.equal(x, y) for x, y in zip(back._tensors, waves._tensors, strict=True))


def test_sources_without_echoes_respond_as_sources(scenes):
    w, s = scenes.world, sensing(scenes)
    waves = Waves.of_sources(w.polar, w.present, 7)
    plain = s.responses(steering_matrix(s.array, w.polar)) * w.present[:, None, :, None]
    assert torch.allclose(wave_responses(s, waves), plain)
    assert torch.equal(waves.count, w.count)


def test_no_wave_leaves_the_snapshots(scenes):
    s = sensing(scenes)
    none = Waves.none(len(s), 4, 3, s.domain, s.y)
    assert (none.count == 0).all()
    assert torch.allclose(project_waves(s, none).residual, s.y)
