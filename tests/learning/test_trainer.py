"""The loop: the order of a step, what stops it, and that an interruption changes nothing."""

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from learning_problem import FIT, LOSS, network, scenes

from risloc.covariance.factored import FactoredCovariance
from risloc.learning.loss import TermError
from risloc.learning.loss_weights import LossConfig, LossWeights
from risloc.learning.trainer import Trainer
from risloc.learning.training_step import FirstStep, FitConfig
from risloc.learning.validation import nmse_pred, nmse_silent, subspace_distance, validate
from risloc.scenes.batch import Scenes
from risloc.scenes.scenario import Scenario
from risloc.utils.device import half_precision

CPU = torch.device("cpu")


def trainer_for(
    scenario: Scenario, *, loss: LossConfig = LOSS, fit: FitConfig = FIT, epochs: int = 4, amp: bool = False
) -> Trainer:
    return Trainer(network(scenario, amp=amp), loss, fit, epochs=epochs, steps_per_epoch=2, device=CPU)


def quiet(_: object) -> None:
    """Say nothing."""


def epoch(trainer: Trainer, data: Scenes) -> dict[str, float]:
    half = len(data) // 2
    return trainer.train_epoch([data[:half], data[half:]], on_first=quiet, on_step=quiet)


def test_a_step_runs_in_the_fixed_order(small_scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, order = trainer_for(small_scenario), []

    def spy(owner: object, name: str, label: str) -> None:
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, **k: (order.append(label), real(*a, **k))[1])

    spy(trainer.network, "blend", "forward")
    spy(torch.autograd, "backward", "backward")
    spy(trainer.scaler, "unscale_", "unscale")
    spy(torch.nn.utils, "clip_grad_norm_", "clip")
    spy(torch, "isfinite", "finite check")
    spy(trainer.scaler, "step", "optimizer.step")
    spy(trainer.scaler, "update", "scaler.update")
    spy(trainer.scheduler, "step", "scheduler.step")
    trainer.train_epoch([scenes(small_scenario)], on_first=quiet, on_step=quiet)
    order = order[order.index("backward") :]
    wanted = ["backward", "unscale", "clip", "finite check", "optimizer.step", "scaler.update", "scheduler.step"]
    assert order == wanted


def test_the_first_step_reports_the_supervision_of_r_blend(small_scenario: Scenario) -> None:
    said: list[FirstStep] = []
    trainer_for(small_scenario).train_epoch([scenes(small_scenario)], on_first=said.append, on_step=quiet)
    assert len(said) == 1
    assert said[0].weights == LOSS.weights_at(0, 4)
    assert said[0].R_blend_requires_grad
    assert said[0].loss_nmse > 0
    assert said[0].loss_nmse_pred > 0


def test_a_non_finite_loss_stops_and_names_the_terms(small_scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trainer_for(small_scenario)
    import risloc.learning.training_step

    real = risloc.learning.training_step.loss_terms

    def broken(*args: object, **named: object) -> object:
        terms = real(*args, **named)  # type: ignore[arg-type]
        return dataclasses.replace(terms, values={**terms.values, "loss_rng": terms.values["loss_rng"] * torch.nan})

    monkeypatch.setattr(risloc.learning.training_step, "loss_terms", broken)
    with pytest.raises(FloatingPointError, match="loss_rng"):
        epoch(trainer, scenes(small_scenario))


def spoil(trainer: Trainer, steps: int) -> None:
    """The gradient of one bias is NaN in the next `steps` steps."""
    left = iter(range(steps))
    bias = next(weight for name, weight in trainer.network.named_parameters() if name.endswith("bias"))
    bias.register_hook(lambda g: g * torch.nan if next(left, None) is not None else None)


def test_under_a_scaler_a_non_finite_gradient_skips_optimizer_and_scheduler_together(small_scenario: Scenario) -> None:
    trainer = trainer_for(small_scenario)
    trainer.scaler = torch.amp.GradScaler("cpu")
    before = copy.deepcopy(trainer.network.state_dict())
    spoil(trainer, 2)
    epoch(trainer, scenes(small_scenario))
    assert trainer.skipped == 2
    assert trainer.scheduler.last_epoch == 0
    for name, value in trainer.network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    epoch(trainer, scenes(small_scenario))
    assert (trainer.skipped, trainer.scheduler.last_epoch) == (2, 2)


def test_a_non_finite_gradient_without_a_scaler_stops(small_scenario: Scenario) -> None:
    trainer = trainer_for(small_scenario)
    spoil(trainer, 1)
    with pytest.raises(FloatingPointError, match="gradient: expected a finite norm, got nan"):
        epoch(trainer, scenes(small_scenario))


def test_a_scale_that_is_not_found_stops_too(small_scenario: Scenario) -> None:
    trainer, data = trainer_for(small_scenario), scenes(small_scenario, 4)
    trainer.scaler = torch.amp.GradScaler("cpu")
    spoil(trainer, 1000)
    with pytest.raises(FloatingPointError, match="gradient: expected a finite norm"):
        trainer.train_epoch([data] * 40, on_first=quiet, on_step=quiet)
    assert trainer.skipped == 32
    assert trainer.scheduler.last_epoch == 0


def test_the_scale_is_kept_with_the_state(small_scenario: Scenario, tmp_path: Path) -> None:
    trainers = [trainer_for(small_scenario) for _ in range(2)]
    for trainer in trainers:
        trainer.scaler = torch.amp.GradScaler("cpu")
    spoil(trainers[0], 2)
    epoch(trainers[0], scenes(small_scenario))
    trainers[0].save(tmp_path / "state.safetensors", {})
    trainers[1].load(tmp_path / "state.safetensors")
    assert trainers[1].scaler.get_scale() == trainers[0].scaler.get_scale() == 2**14


def test_a_schedule_that_forgets_lam_cov_is_an_error(small_scenario: Scenario) -> None:
    class Forgetful(LossConfig):
        def weights_at(self, epoch: int, epochs: int) -> LossWeights:
            return dataclasses.replace(super().weights_at(epoch, epochs), lam_cov=0.0)

    forgetful = Forgetful(**{f.name: getattr(LOSS, f.name) for f in dataclasses.fields(LossConfig)})
    with pytest.raises(
        TermError, match=r"lam_cov: expected a weight above 0, as 1\.0 was given, got 0 from the schedule"
    ):
        epoch(trainer_for(small_scenario, loss=forgetful), scenes(small_scenario))


@pytest.mark.parametrize("skip", ["lam_cov", "lam_cov_pred"])
def test_a_weight_of_zero_trains_on_without_its_term(small_scenario: Scenario, skip: str) -> None:
    loss = dataclasses.replace(LOSS, **{skip: 0.0})
    assert loss.unsupervised == (skip,)
    assert epoch(trainer_for(small_scenario, loss=loss), scenes(small_scenario))["loss_nmse"] > 0


def test_training_lowers_every_term_it_weights(small_scenario: Scenario) -> None:
    data = scenes(small_scenario, 32)
    trainer = trainer_for(small_scenario, epochs=40)
    first = epoch(trainer, data)
    for _ in range(39):
        last = epoch(trainer, data)
    for name in ("loss_nmse", "loss_nmse_pred", "loss_ang", "loss_rng", "loss_K"):
        assert last[name] < 0.8 * first[name], name


def test_the_same_seed_trains_the_same_network(small_scenario: Scenario) -> None:
    ends = []
    for _ in range(2):
        trainer = trainer_for(small_scenario)
        epoch(trainer, scenes(small_scenario))
        ends.append(trainer.averaged.state_dict())
    for name, value in ends[0].items():
        torch.testing.assert_close(value, ends[1][name], rtol=0, atol=0)


def test_resuming_after_an_interruption_changes_nothing(small_scenario: Scenario, tmp_path: Path) -> None:
    data = scenes(small_scenario)
    whole = trainer_for(small_scenario)
    history = [epoch(whole, data) for _ in range(4)]
    first = trainer_for(small_scenario)
    epoch(first, data)
    epoch(first, data)
    first.save(tmp_path / "state.safetensors", {"lines": ["a"]})
    second = trainer_for(small_scenario)
    assert second.load(tmp_path / "state.safetensors") == {"lines": ["a"]}
    assert second.epoch == 2
    for expected in history[2:]:
        assert epoch(second, data) == pytest.approx(expected, rel=1e-6)
    for name, value in second.averaged.state_dict().items():
        torch.testing.assert_close(value, whole.averaged.state_dict()[name], rtol=1e-6, atol=1e-7)


def test_a_killed_save_leaves_the_last_whole_state(small_scenario: Scenario, tmp_path: Path) -> None:
    trainer, path = trainer_for(small_scenario), tmp_path / "state.safetensors"
    trainer.save(path, {"n": 1})
    path.with_name(f".{path.name}.1.part").write_bytes(path.read_bytes()[:100])
    assert trainer_for(small_scenario).load(path) == {"n": 1}


def test_validation_is_free_of_weights(small_scenario: Scenario) -> None:
    """Weights times 10 leave the physical score and the terms of a fixed network as they are."""
    net, data = network(small_scenario), scenes(small_scenario)
    times = {name: 10 * value for name, value in dataclasses.asdict(LOSS).items() if name.startswith("lam_")}
    one, ten = (validate(net, loss, [data], CPU) for loss in (LOSS, dataclasses.replace(LOSS, **times)))
    torch.testing.assert_close(one.score, ten.score, rtol=0, atol=0)
    assert one.terms == ten.terms


def test_nmse_of_r_pred_is_that_of_the_last_pass(small_scenario: Scenario) -> None:
    """The term that trains is the mean over the passes."""
    net, data = network(small_scenario).eval(), scenes(small_scenario)
    found = validate(net, LOSS, [data], CPU)
    with torch.no_grad():
        prediction = net.blend(data.observation)[0]
    values = [float(nmse_pred(net, each, data.truth)) for each in (prediction, *prediction.earlier)]
    assert found.nmse_pred == pytest.approx(values[0], rel=1e-5)
    assert found.terms["loss_nmse_pred"] == pytest.approx(sum(values) / len(values), rel=1e-5)
    assert values[0] != pytest.approx(values[1], rel=1e-3)


def test_silent_nmse_equals_its_dense_definition(small_scenario: Scenario) -> None:
    net, data = network(small_scenario), scenes(small_scenario, 6)
    _, R_samp, _ = net.blend(data.observation)
    from risloc.covariance.factored import true_covariance

    T = true_covariance(data.truth.steering(net.array), data.truth.power).factor
    S, n = R_samp.factor, net.array.size
    silent = 0.7 * torch.eye(n) + 0.3 * (S @ S.mH)
    expected = (silent - T @ T.mH).norm(dim=(-2, -1)).square() / (T @ T.mH).norm(dim=(-2, -1)).square()
    torch.testing.assert_close(nmse_silent(net, R_samp, data.truth), expected.mean(), rtol=1e-4, atol=0)


def test_subspace_distance_is_zero_for_the_truth_and_one_for_its_complement(small_scenario: Scenario) -> None:
    net, data = network(small_scenario), scenes(small_scenario, 6)

    A = data.truth.steering(net.array)
    assert float(subspace_distance(net, FactoredCovariance(A), data.truth).max()) < 1e-4
    Q = torch.linalg.qr(A, mode="complete").Q[:, :, -3:]
    assert float(subspace_distance(net, FactoredCovariance(Q), data.truth).min()) > 1 - 1e-4


def test_mixed_precision_stays_near_full_precision(small_scenario: Scenario) -> None:
    if half_precision(CPU) is None:
        pytest.skip("this processor has no bfloat16 units")
    data, ends = scenes(small_scenario, 32), []
    for amp in (False, True):
        trainer = trainer_for(small_scenario, amp=amp, epochs=20)
        for _ in range(20):
            last = epoch(trainer, data)
        ends.append(last["loss_nmse"])
    assert ends[1] == pytest.approx(ends[0], rel=0.2)
