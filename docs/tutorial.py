# %% [markdown]
# # Tutorial: from snapshots to positions
#
# This tutorial leads from the snapshots of one scene to located sources, compares 200 such scenes with the bound, and trains a
# small network. Run it cell by cell in an editor that supports `# %%` cells; up to the training it needs only the wheel with
# matplotlib (`risloc[figures]`). `python -m docs.build.tutorial` runs all cells and writes this page.
#
# Inside the library everything is in SI units and radians, and sources are searched in (u, v, w): the direction cosines
# u = sin az cos el and v = sin el, and the inverse distance w = 1 / r, in which the phase of the wavefront is nearly linear.
# [Concepts](concepts.md) explains the terms, [Parameters](params.md) the numbers.

# %%
import os

import torch

from risloc import (
    Localiser,
    covariances,
    crb,
    default_search,
    load_model,
    locate,
    match,
    measurements_of,
    music,
    nmse,
    plot_codebook,
    plot_curves,
    plot_scene,
    plot_spectrum,
    polar_of,
    scenario,
    simulate,
    steering_matrix,
    true_covariance,
)
from risloc.estimation.spectrum import music_spectrum

QUICK = "TUTORIAL_QUICK" in os.environ  # every step, at a size that shows nothing: for a test
SCENES = 8 if QUICK else 200

# %% [markdown]
# ## A scene
#
# A scene depends only on the scenario and on (seed, split, index), so this one is the same on every machine. It has three sources
# at 10 dB; positions, powers, codes, channel, symbols and noise are drawn at random.

# %%
world = scenario("default")
array, domain = world.surface.array, world.surface.domain
scene = simulate(world, seed=1, split="test", start=0, stop=1, snr_db=10.0, count=3)
observation, truth = scene.observation, scene.truth
true = truth.location[truth.present]

print(f"{world.n_h} x {world.n_v} elements, wavelength {world.wavelength:.2f} m")
print(
    f"snapshots y {tuple(observation.y.shape)}, codes {tuple(observation.codebook.shape)}, H {tuple(observation.H.shape)}"
)
for k in range(3):
    azimuth, elevation = true[k, :2].rad2deg().tolist()
    print(
        f"source {k + 1}: azimuth {azimuth:5.1f} deg, elevation {elevation:5.1f} deg, "
        f"distance {true[k, 2]:.2f} m, power {truth.power[0, k]:.2f}"
    )

# %% [markdown]
# The surface is 1.65 m wide, so sources at 1 to 6 m are well inside its near field: the curvature of the wavefront reveals
# their distance.

# %%
plot_scene(array, true)

# %% [markdown]
# In each of the 16 snapshots the surface applies a different random code of three bits. Only these codes allow 16 antennas to
# observe more than 16 of the 144 dimensions.

# %%
plot_codebook(observation.codebook[0], world.n_h, world.n_v)

# %% [markdown]
# ## Two covariances, and their blend
#
# The least-squares snapshots give R_samp. From the same snapshots the shipped network predicts R_pred, whose factors follow the
# array manifold. MUSIC runs on R_blend = (1 - beta) R_pred + beta R_samp, so training supervises R_blend. The error is
# |R - R_true|^2 / |R_true|^2, where R_true is computed from the true sources.

# %%
network = load_model("default")
with torch.inference_mode():
    R = covariances(observation, network)
true_polar = polar_of(truth.location[:, :3])  # (u, v, w)
R_true = true_covariance(steering_matrix(array, true_polar), truth.power[:, :3])

for name, each in {"R_samp": R.R_samp, "R_pred": R.R_pred, "R_blend": R.R_blend}.items():
    print(f"{name:7s}  rank <= {each.factor.shape[-1]:2d}   NMSE {float(nmse(each, R_true)):.3f}")

# %% [markdown]
# The figure shows the MUSIC spectrum of R_samp in two slices through the first source: over (u, v) at its distance, and over
# (u, 1/r) at its elevation. The circles are the sources.


# %%
def show_music(R, title):
    U = music.signal_subspace(R, 3, 3)[0]

    def of(polar):
        return music_spectrum(steering_matrix(array, polar), U)

    return plot_spectrum(of, domain, true_polar[0, 0], location=true, title=title)


show_music(R.R_samp, "MUSIC on R_samp")

# %% [markdown]
# The next figure shows the same for R_blend, which contains the prediction of the network:

# %%
show_music(R.R_blend, "MUSIC on R_blend")

# %% [markdown]
# ## Locating
#
# Candidates come from the spectrum, from the network's slots, and from the score spectrum, which shows sources that R_pred does
# not explain. There are more candidates than sources. A forward selection by likelihood, with a joint fit after each pick,
# decides which of them are sources; BIC determines their number. Each estimate comes with its standard deviation, from the
# Fisher information at the estimate; the table also has the Cramér-Rao bound at the truth.


# %%
def bound_of(scenes):
    truth = scenes.truth
    return crb.stochastic_bound(world.surface, scenes.observation, truth.location, truth.power).position


def errors_of(polar, present, scenes):
    """Each true source's error, and which estimate is its own; of scenes with three."""
    truth = scenes.truth
    return match(polar, present, polar_of(truth.location[:, :3]), truth.present[:, :3], 2.0)


found = locate(measurements_of(world, scene), network)
matched = errors_of(polar_of(found.location), found.present, scene)
root_crb = bound_of(scene)

print(f"{int(found.present.sum())} sources found, of {int(truth.count)}")
for k in range(3):
    slot = int(matched.estimate[0, k])
    print(
        f"source {k + 1}: error {matched.position[0, k]:.3f} m, reported deviation {found.position_std[0, slot].norm():.3f} m, "
        f"root-CRB {root_crb[0, k]:.3f} m"
    )

# %% [markdown]
# The bars show one standard deviation of the distance: range carries almost all of the error.

# %%
there = found.present
plot_scene(array, true, estimate=found.location[there], distance_std=found.location_std[there][:, 2])

# %% [markdown]
# ## Two hundred scenes and the bound
#
# One scene proves nothing. The next cell locates 200 scenes of three sources at 10 dB, with K known to all methods. NOMP is the
# strong classical baseline: it uses the same likelihood and fit, on a finer grid and without a network. An efficient estimator
# has a median of error / root-CRB of about 0.67, the median of the absolute value of a Gaussian, because nearly all of the error is
# in one dimension.

# %%
many = simulate(world, seed=2, split="test", start=0, stop=SCENES, snr_db=10.0, count=3)
measured, bounds = measurements_of(world, many), bound_of(many)[:, :3]


def report(name, polar, present):
    error = errors_of(polar, present, many).position
    ratio = error / bounds
    print(
        f"{name:24s} median error {error.median():.3f} m   / root-CRB {ratio.median():5.2f}   "
        f"within 3 root-CRB {(ratio < 3).double().mean():.3f}"
    )


def report_located(name, network):
    located = locate(measured, network, sources=3)
    report(name, polar_of(located.location), located.present)


localiser = Localiser(world, default_search())
with torch.inference_mode():
    R = covariances(many.observation, network)
    for name, each in {"MUSIC on R_samp": R.R_samp, "MUSIC on R_blend": R.R_blend}.items():
        located = localiser.music(each, many.truth.count)
        report(name, located.polar, located.present)
report_located("the hybrid", network)
report_located("NOMP with echoes", None)

# %% [markdown]
# ## Training a small network
#
# This network has a fifth of the size of the shipped one, makes one pass over the snapshots, and trains for 10 epochs of 6400
# scenes, each used once. The first step of every training reports the weight of the main loss, the loss itself, and whether R_blend
# carries a gradient; it fails if a weighted term has none. The cells below import from the modules of the library; every number of a
# training is in `params.yaml` of the repository, so run them in its root.

# %%
import dataclasses
from pathlib import Path

from risloc.config import build
from risloc.covariance.factored import CovarianceConfig
from risloc.learning.fresh_batches import fresh_batches
from risloc.learning.loss_weights import LossConfig
from risloc.learning.network import HybridNetwork
from risloc.learning.network_config import NetworkConfig
from risloc.learning.trainer import Trainer
from risloc.learning.training_step import FitConfig
from risloc.learning.validation import validate
from risloc.physics.grid import GridConfig
from risloc.utils.yaml_reader import read_yaml

EPOCHS, EPOCH_SCENES = (2, 128) if QUICK else (10, 6400)
params = read_yaml(Path("params.yaml"))
small = dataclasses.replace(build(NetworkConfig, params["network"], "network"), channels=32, passes=1)
torch.manual_seed(0)
learner = HybridNetwork(
    world,
    build(GridConfig, params["grid"], "grid"),
    build(CovarianceConfig, params["covariance"], "covariance"),
    small,
)
fit, loss = build(FitConfig, params["fit"], "fit"), build(LossConfig, params["loss"], "loss")
device = torch.device("cpu")
trainer = Trainer(learner, loss, fit, epochs=EPOCHS, steps_per_epoch=EPOCH_SCENES // fit.batch_size, device=device)
held = [simulate(world, seed=3, split="val", start=0, stop=64 if QUICK else 512)]
print(f"{sum(weight.numel() for weight in learner.parameters()):,} parameters")


def announce(first):
    print(
        f"first step: lam_cov={first.weights.lam_cov}, loss_nmse={first.loss_nmse:.3f}, "
        f"R_blend carries a gradient: {first.R_blend_requires_grad}"
    )


untrained = validate(learner, loss, held, device).terms
history = {name: [untrained[f"loss_{name}"]] for name in ("nmse", "nmse_pred", "ang", "rng", "K")}
for epoch in range(EPOCHS):
    scenes = fresh_batches(
        world,
        fit.batch_size,
        seed=3,
        split="train",
        start=epoch * EPOCH_SCENES,
        stop=(epoch + 1) * EPOCH_SCENES,
    )
    train = trainer.train_epoch(
        scenes, on_first=announce if epoch == 0 else lambda first: None, on_step=lambda scenes: None
    )
    validation = validate(trainer.averaged, loss, held, device)
    for name, values in history.items():
        values.append(validation.terms[f"loss_{name}"])
    print(
        f"epoch {epoch + 1:2d}: NMSE of R_blend, train {train['loss_nmse']:.3f}, validation {history['nmse'][-1]:.3f}; "
        f"physical score {float(validation.score.mean()):.3f}"
    )

# %% [markdown]
# The table lists every loss term on scenes that were not used for training. The NMSE of R_blend can be interpreted directly: an
# uninformative network with R_pred = I would have the value below.

# %%
print(f"NMSE of R_blend if R_pred said nothing: {validation.nmse_silent:.3f}")
plot_curves(range(EPOCHS + 1), history, xlabel="epoch", ylabel="loss terms, validation")

# %% [markdown]
# After these few minutes the small network is between no network at all and the shipped one, which was trained on six times as
# many scenes. The likelihood fit compensates for much of the difference.

# %%
with torch.inference_mode():
    shipped = validate(network, loss, held, device).terms
    print(
        f"NMSE of R_blend: untrained {untrained['loss_nmse']:.3f}, now {history['nmse'][-1]:.3f}, shipped {shipped['loss_nmse']:.3f}"
    )
report_located("hybrid, small network", trainer.averaged)
report_located("hybrid, shipped", network)

# %% [markdown]
# ## Next steps
#
# `make repro` runs the whole pipeline, with tuning, the overfit check and an evaluation of every method by SNR and K;
# [Parameters](params.md) explains each number and which stages run again after a change. [Evaluation](evaluation.md),
# [robustness](robustness.md) and [comparison with published work](peers.md) have the results;
# [Contributing](../CONTRIBUTING.md) explains how to add an estimator or a loss term.
