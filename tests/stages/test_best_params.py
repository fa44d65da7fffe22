from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from learning_problem import COVARIANCE, FIT, LOSS, NETWORK

from risloc.config import ParamError
from risloc.learning.loss_weights import WEIGHTS
from stages.tuning.best_params import Best, Tunable, apply, knobs, read_best, write_best

DEFAULT = Tunable(covariance=COVARIANCE, network=NETWORK, loss=LOSS, fit=FIT)


def test_the_default_changes_nothing() -> None:
    assert apply(DEFAULT, Best.default()) == DEFAULT


@pytest.mark.parametrize("path", knobs(DEFAULT))
def test_every_knob_arrives_where_it_points(path: str) -> None:
    section, name = path.split(".")
    before = getattr(getattr(DEFAULT, section), name)
    shares = {"covariance.beta": 0.45, "fit.warmup": 0.2, "fit.ema_decay": 0.5}
    value = 2.0 if section == "loss" else shares.get(path, 16)
    tuned = apply(DEFAULT, Best.from_knobs("trial-1", {path: value}))
    after = getattr(getattr(tuned, section), name)
    assert after == (2 * before if section == "loss" else value)
    assert type(after) is type(before)
    untouched = {p for p in knobs(DEFAULT) if p != path}
    for other in untouched:
        s, n = other.split(".")
        assert getattr(getattr(tuned, s), n) == getattr(getattr(DEFAULT, s), n), other


@pytest.mark.parametrize("name", ["replicate", "accumulate"])
def test_what_is_no_setting_is_no_knob(name: str) -> None:
    assert f"fit.{name}" not in knobs(DEFAULT)
    with pytest.raises(ParamError, match=rf"fit\.{name}: no such knob"):
        apply(DEFAULT, Best.from_knobs("trial-1", {f"fit.{name}": 3}))


def test_what_a_person_sets_always_changes_what_is_trained() -> None:
    best = Best.from_knobs("trial-7", {"loss.lam_cov": 1.7, "loss.lam_K": 0.3})
    for lam_cov in (0.0, 0.5, 3.0):
        tuned = apply(replace(DEFAULT, loss=replace(LOSS, lam_cov=lam_cov)), best)
        assert tuned.loss.lam_cov == pytest.approx(1.7 * lam_cov)
    assert tuned.loss.lam_ang == LOSS.lam_ang


def test_best_yaml_is_read_back_and_has_a_factor_for_every_weight(tmp_path: Path) -> None:
    best = Best.from_knobs("trial-2", {"fit.learning_rate": 1.5e-3, "network.channels": 48, "loss.lam_rng": 0.7})
    write_best(tmp_path / "best.yaml", best)
    assert read_best(tmp_path / "best.yaml") == best
    assert set(yaml.safe_load((tmp_path / "best.yaml").read_text())["loss_factors"]) == set(WEIGHTS)


def test_a_tuned_value_that_is_dropped_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "best.yaml"
    with pytest.raises(ParamError, match=r"no such file.*dvc repro hpo"):
        read_best(path)
    write_best(path, Best.default())
    whole = yaml.safe_load(path.read_text())
    del whole["loss_factors"]["lam_cov"]
    path.write_text(yaml.safe_dump(whole))
    with pytest.raises(ParamError, match="lam_cov"):
        read_best(path)
    path.write_text("chosen: default\nvalues: {}\n")
    with pytest.raises(ParamError, match="loss_factors: missing"):
        read_best(path)


@pytest.mark.parametrize("path", ["loss.gap_margin", "scenario.n_h", "network.head", "fit.lr", "nonsense"])
def test_an_unknown_knob_is_an_error(path: str) -> None:
    with pytest.raises(ParamError, match="no such knob"):
        apply(DEFAULT, Best(chosen="x", values={path: 1.0}, loss_factors=dict.fromkeys(WEIGHTS, 1.0)))


def test_a_value_outside_its_domain_is_an_error() -> None:
    with pytest.raises(ParamError, match=r"tuned\.covariance\.beta"):
        apply(DEFAULT, Best.from_knobs("x", {"covariance.beta": 1.5}))
