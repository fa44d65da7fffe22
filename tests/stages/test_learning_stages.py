"""overfit, hpo and train on real shards: gate, search, resume, and that what was tuned is what is trained."""

import csv
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from learning_problem import COVARIANCE, FIT, GRID, LOSS, NETWORK
from learning_shards import SEED
from same_scenes import same

from pipeline.console_reporter import ConsoleReporter
from risloc.config import ParamError
from risloc.io.shard_reader import ShardReader
from risloc.learning.checkpoint import load_checkpoint
from risloc.learning.loss import LossTerms, TermError
from risloc.learning.loss_weights import WEIGHTS, LossConfig
from risloc.learning.trainer import Trainer
from risloc.scenes.batch import Scenes
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate
from stages import hpo, overfit, train
from stages.overfit import GateError, OverfitConfig
from stages.support import resumable
from stages.support.fitting import Data, Log, build_network, fit_epoch, replicate_seed
from stages.support.mapping import SERIAL, Serial
from stages.train import TrainConfig
from stages.tuning import search as tuning
from stages.tuning.best_params import Best, Tunable, write_best
from stages.tuning.search import Search, Worker, join
from stages.tuning.search_space import HpoConfig, Knob
from stages.tuning.study import open_study

OVERFIT = OverfitConfig(scenes=24, epochs=30, batch_size=8, excellent=0.5, improvement=0.75, gate=True)
HPO = HpoConfig(
    trials=3,
    startup=2,
    epochs=2,
    train_scenes=32,
    val_scenes=16,
    confidence=0.95,
    replicates=2,
    space={
        "fit": {"learning_rate": Knob(low=1e-3, high=1e-2, log=True, step=0.0)},
        "network": {"channels": Knob(low=8, high=16, log=False, step=8.0)},
        "covariance": {"beta": Knob(low=0.1, high=0.5, log=False, step=0.0)},
        "loss": {"lam_K": Knob(low=0.5, high=2.0, log=True, step=0.0)},
    },
)
TRAIN = TrainConfig(epochs=3, fresh=False, patience=3, val_scenes=16)


def common(easy: Scenario, shard_dir: Path, **changes: Any) -> dict[str, Any]:
    sections = {"covariance": COVARIANCE, "grid": GRID, "network": NETWORK, "loss": LOSS, "fit": FIT}
    return {"seed": SEED, "scenario": easy, **sections, "shard_dir": shard_dir, **changes}


def run_overfit(easy: Scenario, shard_dir: Path, path: Path, **changes: Any) -> ConsoleReporter:
    report = ConsoleReporter()
    given = {"overfit": OVERFIT, **common(easy, shard_dir), **changes}
    overfit.run(**given, overfit_report=path / "report", metrics=path / "metrics.json", report=report)
    return report


def run_hpo(easy: Scenario, shard_dir: Path, path: Path, **changes: Any) -> ConsoleReporter:
    report = ConsoleReporter()
    hpo.run(
        **{"runner": SERIAL, "storage": None, **common(easy, shard_dir), "hpo": HPO, **changes},
        overfit_report=path,
        best=path / "best.yaml",
        trials=path / "trials",
        metrics=path / "metrics.json",
        state=path / "state",
        report=report,
    )
    return report


def run_train(easy: Scenario, shard_dir: Path, path: Path, best: Best, **changes: Any) -> ConsoleReporter:
    report = ConsoleReporter()
    write_best(path / "best.yaml", best)
    train.run(
        **{**common(easy, shard_dir), "train": TRAIN, **changes},
        best=path / "best.yaml",
        trained=path / "checkpoint",
        train_report=path / "report",
        metrics=path / "metrics.json",
        state=path / "state",
        report=report,
    )
    return report


def lines(report: ConsoleReporter) -> str:
    return "\n".join(str(value) for kind, value in report.records if kind.endswith("line"))


def records(report: ConsoleReporter, kind: str) -> list[Any]:
    return [record for record in report.records if record[0] == kind]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def params(report: ConsoleReporter) -> dict[str, Any]:
    return {k: v for kind, values in report.records if kind.endswith("params") for k, v in values.items()}  # type: ignore[attr-defined]


def tags(report: ConsoleReporter) -> dict[str, str]:
    return dict(value for kind, value in report.records if kind.endswith("tag"))  # type: ignore[misc]


@pytest.mark.parametrize("stage", ["hpo", "train"])
def test_the_source_that_counts_is_all_that_a_stage_imports(repository: Path, stage: str) -> None:
    described = yaml.safe_load((repository / "dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]
    assert set(resumable.sources(f"stages.{stage}")) == {name for name in described["deps"] if name.endswith(".py")}


def test_a_replicate_has_a_seed_of_its_own_and_the_first_one_the_seed_itself() -> None:
    seeds = [replicate_seed(seed, replicate) for seed in (0, 1, 20261123) for replicate in range(50)]
    assert len(set(seeds)) == len(seeds)
    assert seeds[::50] == [0, 1, 20261123]
    for seed in seeds:
        torch.Generator().manual_seed(seed)
        np.random.default_rng([seed, 0])


class TestOverfit:
    def test_a_replicate_starts_from_another_network(self, easy: Scenario, shard_dir: Path, tmp_path: Path) -> None:
        short = replace(OVERFIT, scenes=8, epochs=2, gate=False)
        tables = []
        for i, replicate in enumerate((0, 1, 1)):
            path, fit = tmp_path / str(i), replace(FIT, replicate=replicate)
            run_overfit(easy, shard_dir, path, overfit=short, fit=fit)
            tables.append((path / "report" / "losses.csv").read_text())
        assert tables[0] != tables[1] == tables[2]

    def test_a_loop_that_learns_passes_in_both_schedules(self, easy: Scenario, shard_dir: Path, tmp_path: Path) -> None:
        report = run_overfit(easy, shard_dir, tmp_path)
        log = (tmp_path / "report" / "log.txt").read_text()
        assert log.strip() in lines(report).replace("\r", "") or all(line in lines(report) for line in log.splitlines())
        assert log.count("READY FOR FULL HPO") == 2
        assert log.count("EXCELLENT: val loss < 0.5") == 2
        assert log.count("First step: lam_cov=") == 2
        assert "Epoch 001/030: train " in log
        assert "(lam_cov=0.3, lam_cov_pred=0.05, lam_cross=0.0025, lam_gap=0.065," in log
        assert "(lam_cov=1, lam_cov_pred=0.05," in log
        rows = table(tmp_path / "report" / "losses.csv")
        assert len(rows) == 60
        assert {f"{s}/{w}loss_nmse" for s in ("train", "val") for w in ("", "weighted_")} <= set(rows[0])
        metrics = json.loads((tmp_path / "metrics.json").read_text())
        assert metrics["passed"]
        assert metrics["curriculum"]["nmse"] < 0.5 < metrics["curriculum"]["nmse_silent"]

    def test_a_network_that_says_nothing_cannot_hide_behind_the_samples(
        self, easy: Scenario, shard_dir: Path, tmp_path: Path
    ) -> None:
        frozen = replace(FIT, learning_rate=1e-12)
        with pytest.raises(GateError, match="loss_nmse: NMSE of R_blend is"):
            run_overfit(easy, shard_dir, tmp_path, fit=frozen, overfit=replace(OVERFIT, epochs=2))
        assert "FAULT: loss_nmse" in (tmp_path / "report" / "log.txt").read_text()
        assert not json.loads((tmp_path / "metrics.json").read_text())["passed"]

    def test_lam_cov_of_zero_runs_on_reported_and_tagged_not_gated(
        self, easy: Scenario, shard_dir: Path, tmp_path: Path
    ) -> None:
        short = replace(OVERFIT, epochs=2)
        report = run_overfit(easy, shard_dir, tmp_path, loss=replace(LOSS, lam_cov=0.0), overfit=short)
        assert "WARNING: lam_cov is 0" in lines(report)
        assert "NOT GATED" in (tmp_path / "report" / "log.txt").read_text()
        assert tags(report)["ablation.lam_cov"] == "0"
        assert params(report)["effective.loss_nmse"] == 0

    def test_an_open_gate_runs_on_and_says_so(self, easy: Scenario, shard_dir: Path, tmp_path: Path) -> None:
        frozen = replace(FIT, learning_rate=1e-12)
        report = run_overfit(easy, shard_dir, tmp_path, fit=frozen, overfit=replace(OVERFIT, epochs=2, gate=False))
        assert lines(report).count("NOT GATED: overfit.gate is false") == 2
        assert "READY FOR FULL HPO" not in lines(report)
        assert tags(report)["overfit.gate"] == "open"
        assert not json.loads((tmp_path / "metrics.json").read_text())["passed"]

    def test_a_path_that_never_trains_on_r_blend_is_stopped(
        self, easy: Scenario, shard_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The historic bug, by force: the total forgets its main term although every weight is set."""
        monkeypatch.setattr(
            LossTerms, "total", lambda self, weights: sum(v for k, v in self.values.items() if k == "loss_K")
        )
        with pytest.raises(GateError, match=r"loss_nmse|loss_ang|loss_rng"):
            run_overfit(easy, shard_dir, tmp_path)

    def test_a_schedule_that_forgets_lam_cov_is_stopped(
        self, easy: Scenario, shard_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = LossConfig.weights_at
        monkeypatch.setattr(LossConfig, "weights_at", lambda self, e, n: replace(real(self, e, n), lam_cov=0.0))
        with pytest.raises(TermError, match="lam_cov"):
            run_overfit(easy, shard_dir, tmp_path)


class TestHpo:
    def test_a_search_writes_best_trials_and_metrics(self, easy: Scenario, shard_dir: Path, tmp_path: Path) -> None:
        report = run_hpo(easy, shard_dir, tmp_path)
        best = yaml.safe_load((tmp_path / "best.yaml").read_text())
        assert set(best["loss_factors"]) == set(WEIGHTS)
        rows = table(tmp_path / "trials" / "trials.csv")
        assert len(rows) == 3
        assert {"COMPLETE"} <= {row["state"] for row in rows} <= {"COMPLETE", "PRUNED"}
        assert "best.yaml: " in lines(report)
        assert json.loads((tmp_path / "metrics.json").read_text())["chosen"] == best["chosen"]

    def test_no_trials_keep_params_yaml_with_factors_of_one(
        self, easy: Scenario, shard_dir: Path, tmp_path: Path
    ) -> None:
        run_hpo(easy, shard_dir, tmp_path, hpo=replace(HPO, trials=0))
        best = yaml.safe_load((tmp_path / "best.yaml").read_text())
        assert best == {"chosen": "default", "values": {}, "loss_factors": dict.fromkeys(WEIGHTS, 1.0)}

    def test_an_interrupted_search_goes_on_and_ends_the_same(
        self, easy: Scenario, shard_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "a").mkdir()
        run_hpo(easy, shard_dir, tmp_path / "a")
        real, calls = tuning.fit_epoch, []

        def interrupted(*args: Any) -> Any:
            calls.append(1)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return real(*args)

        (tmp_path / "b").mkdir()
        with monkeypatch.context() as patch:
            patch.setattr(tuning, "fit_epoch", interrupted)
            with pytest.raises(KeyboardInterrupt):
                run_hpo(easy, shard_dir, tmp_path / "b")
        run_hpo(easy, shard_dir, tmp_path / "b")
        for name in ("trials/trials.csv", "best.yaml", "metrics.json"):
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name

    def test_more_trials_add_to_those_there_are(self, easy: Scenario, shard_dir: Path, tmp_path: Path) -> None:
        run_hpo(easy, shard_dir, tmp_path, hpo=replace(HPO, trials=1))
        report = run_hpo(easy, shard_dir, tmp_path, hpo=replace(HPO, trials=2))
        assert "Trial 2/2" in lines(report)
        assert "Trial 1/2" not in lines(report)

    def test_a_replicate_starts_another_study_of_other_fits(
        self, easy: Scenario, shard_dir: Path, tmp_path: Path
    ) -> None:
        scores = []
        for replicate in (0, 1, 1):
            fit = replace(FIT, replicate=replicate)
            run_hpo(easy, shard_dir, tmp_path, hpo=replace(HPO, trials=1), fit=fit)
            scores.append(table(tmp_path / "trials" / "trials.csv")[0]["score"])
        assert scores[0] != scores[1] == scores[2]
        assert len(list((tmp_path / "state").iterdir())) == 2

    def test_another_objective_starts_another_study(self, easy: Scenario, shard_dir: Path, tmp_path: Path) -> None:
        run_hpo(easy, shard_dir, tmp_path, hpo=replace(HPO, trials=1))
        report = run_hpo(easy, shard_dir, tmp_path, hpo=replace(HPO, trials=1), loss=replace(LOSS, lam_cov=0.5))
        assert "Trial 1/1" in lines(report)
        assert len(list((tmp_path / "state").iterdir())) == 2

    def test_code_that_changed_starts_another_study(
        self, easy: Scenario, shard_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run_hpo(easy, shard_dir, tmp_path, hpo=replace(HPO, trials=1))
        monkeypatch.setattr(resumable, "source_digest", lambda module: "another")
        report = run_hpo(easy, shard_dir, tmp_path, hpo=replace(HPO, trials=1))
        assert "Trial 1/1" in lines(report)

    def test_a_default_that_cannot_be_trained_stops_the_search(
        self, easy: Scenario, shard_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*args: Any) -> Any:
            raise FloatingPointError("loss: expected a finite value")

        with monkeypatch.context() as patch:
            patch.setattr(tuning, "fit_epoch", broken)
            with pytest.raises(FloatingPointError, match="finite"):
                run_hpo(easy, shard_dir, tmp_path)
        run_hpo(easy, shard_dir, tmp_path, hpo=replace(HPO, trials=1))
        assert [row["state"] for row in table(tmp_path / "trials" / "trials.csv")] == ["COMPLETE"]

    def test_a_bad_trial_is_pruned(self, easy: Scenario, shard_dir: Path, tmp_path: Path) -> None:
        """After two trials that learn, a learning rate of 1e-9 scores worse than their median and is cut short."""
        good = {"fit": {"learning_rate": Knob(low=5e-3, high=6e-3, log=True, step=0.0)}}
        bad = Knob(low=1e-9, high=2e-9, log=True, step=0.0)
        config = replace(HPO, trials=2, startup=3, space=good, epochs=3)
        train, val = (ShardReader(shard_dir / split, easy) for split in ("train", "val"))
        default = Tunable(covariance=COVARIANCE, network=NETWORK, loss=LOSS, fit=FIT)
        search = Search(
            seed=SEED, scenario=easy, grid=GRID, default=default, hpo=config, train=train, val=val,
            report=ConsoleReporter(),
        )  # fmt: skip
        plan = search.plan(tmp_path, None)
        join(Worker(search=search, plan=plan, threads=1))
        space = {"fit.learning_rate": bad.distribution()}
        join(Worker(search=search, plan=replace(plan, trials=3, space=space), threads=1))
        with open_study(plan) as shared:
            trials = shared.study.get_trials()
        assert [trial.state.name for trial in trials] == ["COMPLETE", "COMPLETE", "PRUNED"]
        assert len(trials[2].intermediate_values) < 3

    def test_tuning_lam_cov_is_one_line_of_the_search_space(
        self, easy: Scenario, shard_dir: Path, tmp_path: Path
    ) -> None:
        space = {**HPO.space, "loss": {"lam_cov": Knob(low=0.5, high=2.0, log=True, step=0.0)}}
        run_hpo(easy, shard_dir, tmp_path, hpo=replace(HPO, trials=2, space=space))
        rows = table(tmp_path / "trials" / "trials.csv")
        assert 0.5 <= float(rows[1]["loss.lam_cov"]) <= 2.0

    def test_workers_on_several_hosts_need_a_database(self, easy: Scenario, shard_dir: Path, tmp_path: Path) -> None:
        class Elsewhere(Serial):
            hosts = True

        with pytest.raises(ParamError, match=r"expected a database.*got the journal of one.*RISLOC_STUDY"):
            run_hpo(easy, shard_dir, tmp_path, runner=Elsewhere())

    def test_an_unknown_knob_and_too_few_scenes_are_named(
        self, easy: Scenario, shard_dir: Path, tmp_path: Path
    ) -> None:
        knob = Knob(low=1, high=2, log=False, step=0.0)
        with pytest.raises(ParamError, match=r"hpo\.space\.loss\.lam_psd: no such knob"):
            run_hpo(easy, shard_dir, tmp_path, hpo=replace(HPO, space={"loss": {"lam_psd": knob}}))
        with pytest.raises(ParamError, match=r"hpo\.val_scenes"):
            run_hpo(easy, shard_dir, tmp_path, hpo=replace(HPO, val_scenes=100))
        with pytest.raises(ParamError, match="low < high"):
            Knob(low=2.0, high=1.0, log=False, step=0.0)


class TestTrain:
    def test_what_was_tuned_is_what_is_trained_and_logged(
        self, easy: Scenario, shard_dir: Path, tmp_path: Path
    ) -> None:
        values = {"fit.learning_rate": 2e-3, "network.channels": 24.0, "covariance.beta": 0.45}
        best = Best.from_knobs("trial-9", {**values, "loss.lam_cov": 2.0, "loss.lam_K": 0.5})
        for lam_cov in (1.0, 0.25):
            path = tmp_path / str(lam_cov)
            report = run_train(easy, shard_dir, path, best, loss=replace(LOSS, lam_cov=lam_cov))
            network, extra = load_checkpoint(path / "checkpoint")
            assert network.beta == 0.45
            assert network.config.channels == 24
            assert extra["fit"]["learning_rate"] == 2e-3
            assert extra["loss"]["lam_cov"] == 2 * lam_cov
            logged = params(report)
            assert logged["loss_set.lam_cov"] == lam_cov
            assert logged["loss_factor.lam_cov"] == 2.0
            assert logged["loss_used.lam_cov"] == 2 * lam_cov
            assert logged["effective.loss_cross"] == pytest.approx(2 * lam_cov * LOSS.lam_cross)
            assert f"(lam_cov={2 * lam_cov:.4g}, " in (path / "report" / "log.txt").read_text()

    def test_every_component_is_logged_for_train_and_val_every_epoch(
        self, easy: Scenario, shard_dir: Path, tmp_path: Path
    ) -> None:
        report = run_train(easy, shard_dir, tmp_path, Best.default())
        steps = [value for kind, value in report.records if kind == "metrics" and value[1] is not None]  # type: ignore[index]
        assert [step for _, step in steps] == [1, 2, 3]  # type: ignore[misc]
        names = LOSS.effective()
        wanted = {f"{s}/{w}{n}" for s in ("train", "val") for w in ("", "weighted_") for n in names}
        left_out = {"train/loss_nll", "train/weighted_loss_nll"}  # it takes long, and has no weight; val/ has it
        assert wanted - set(steps[0][0]) == left_out  # type: ignore[index]
        assert ("artifact", tmp_path / "checkpoint") in report.records

    @pytest.mark.parametrize(("fresh", "replicate"), [(False, 0), (True, 0), (True, 1)])
    def test_an_interrupted_training_goes_on_and_ends_the_same(
        self,
        easy: Scenario,
        shard_dir: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        fresh: bool,
        replicate: int,
    ) -> None:
        changes: dict[str, Any] = {"train": replace(TRAIN, fresh=fresh), "fit": replace(FIT, replicate=replicate)}
        run_train(easy, shard_dir, tmp_path / "whole", Best.default(), **changes)
        real, calls = train.fit_epoch, []

        def interrupted(*args: Any) -> Any:
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return real(*args)

        with monkeypatch.context() as patch:
            patch.setattr(train, "fit_epoch", interrupted)
            with pytest.raises(KeyboardInterrupt):
                run_train(easy, shard_dir, tmp_path / "cut", Best.default(), **changes)
        report = run_train(easy, shard_dir, tmp_path / "cut", Best.default(), **changes)
        assert "Going on after epoch 2" in lines(report)
        for name in ("report/losses.csv", "report/log.txt", "metrics.json", "checkpoint/model.safetensors"):
            assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes(), name
        assert not list((tmp_path / "cut" / "state").iterdir())

    def test_fresh_scenes_go_on_where_those_of_the_shards_end(
        self, easy: Scenario, shard_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real, seen = Trainer.train_epoch, []

        def watched(trainer: Trainer, batches: Iterable[Scenes], **rest: Any) -> Any:
            seen.append(list(batches))
            return real(trainer, seen[-1], **rest)

        monkeypatch.setattr(Trainer, "train_epoch", watched)
        run_train(easy, shard_dir, tmp_path, Best.default(), train=replace(TRAIN, fresh=True))
        assert [len(epoch) for epoch in seen] == [3, 3, 3]
        assert same(Scenes.cat(seen[0]), ShardReader(shard_dir / "train").read(slice(None)))
        whole = simulate(easy, seed=SEED, split="train", start=0, stop=144)
        assert same(Scenes.cat([batch for epoch in seen for batch in epoch]), whole)

    def test_the_pace_is_said_and_stands_in_no_file(self, easy: Scenario, shard_dir: Path, tmp_path: Path) -> None:
        report = run_train(easy, shard_dir, tmp_path, Best.default())
        logged = [value for kind, (value, step) in records(report, "metrics") if step is not None]
        assert len(logged) == 3
        assert all(v["scenes_per_second"] > 0 and 0 <= v["loader_wait"] < 1 for v in logged)
        assert lines(report).count(" scenes/s, loader_wait ") == 3
        for path in (tmp_path / "report" / "log.txt", tmp_path / "report" / "losses.csv", tmp_path / "metrics.json"):
            assert "scenes" not in path.read_text()
            assert "loader_wait" not in path.read_text()

    def test_waiting_for_scenes_is_seen(self, easy: Scenario, shard_dir: Path, tmp_path: Path) -> None:
        """A loader that takes a second a batch is where nearly all the time goes."""
        scenes = ShardReader(shard_dir / "train").read(slice(0, 16))

        def slow(epoch: int) -> Iterator[Scenes]:
            time.sleep(3)
            yield scenes

        network = build_network(SEED, easy, COVARIANCE, GRID, NETWORK)
        trainer = Trainer(network, LOSS, FIT, epochs=1, steps_per_epoch=1, device=torch.device("cpu"))
        report = ConsoleReporter()
        fit_epoch(trainer, Data(train=slow, validation=lambda: iter([scenes]), scenes=16), Log(report))
        ((_, (logged, _)),) = records(report, "metrics")
        assert logged["loader_wait"] > 0.5
        assert logged["scenes_per_second"] < 16 / 3

    @pytest.mark.parametrize("fresh", [False, True])
    def test_a_replicate_differs_in_its_network_and_its_order_alone(
        self, easy: Scenario, shard_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: bool
    ) -> None:
        real, scenes, networks = Trainer.train_epoch, [], []

        def watched(trainer: Trainer, batches: Iterable[Scenes], **rest: Any) -> Any:
            networks.append(torch.cat([p.detach().flatten().clone() for p in trainer.network.parameters()]))
            scenes.append(list(batches))
            return real(trainer, scenes[-1], **rest)

        monkeypatch.setattr(Trainer, "train_epoch", watched)
        config = replace(TRAIN, epochs=1, fresh=fresh)
        for i, replicate in enumerate((0, 1, 1, 2)):
            fit = replace(FIT, replicate=replicate, batch_size=8)
            run_train(easy, shard_dir, tmp_path / str(i), Best.default(), train=config, fit=fit)
        order = [[float(x) for batch in run for x in batch.observation.noise_var] for run in scenes]
        assert len({tuple(sorted(each)) for each in order}) == 1
        assert order[1] == order[2]
        assert torch.equal(networks[1], networks[2])
        assert len({tuple(each) for each in order}) == 3
        assert len({float(each.sum()) for each in networks}) == 3
        assert load_checkpoint(tmp_path / "3" / "checkpoint")[1]["fit"]["replicate"] == 2
        weights = [(tmp_path / str(i) / "checkpoint" / "model.safetensors").read_bytes() for i in range(4)]
        assert weights[1] == weights[2]
        assert len(set(weights)) == 3

    def test_training_stops_early_and_keeps_the_best_epoch(
        self, easy: Scenario, shard_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scores = iter([0.5, 0.4, 0.6, 0.7, 0.1])
        real = train.fit_epoch
        monkeypatch.setattr(train, "fit_epoch", lambda *a: replace(v := real(*a), score=v.score * 0 + next(scores)))
        report = run_train(easy, shard_dir, tmp_path, Best.default(), train=replace(TRAIN, epochs=5, patience=2))
        assert "Best physical score 0.4000 at epoch 2 of 4" in lines(report)
        metrics, rows = json.loads((tmp_path / "metrics.json").read_text()), table(tmp_path / "report" / "losses.csv")
        assert (metrics["score"], metrics["epochs"], metrics["kept_epoch"]) == (pytest.approx(0.4), 4, 2)
        for name in ("loss_nmse", "loss_nmse_pred"):
            assert metrics[f"val_{name}"] == float(rows[1][f"val/{name}"]) != float(rows[3][f"val/{name}"])

    def test_the_free_head_trains_too(self, easy: Scenario, shard_dir: Path, tmp_path: Path) -> None:
        free = replace(NETWORK, head="free")
        run_train(easy, shard_dir, tmp_path, Best.default(), network=free, train=replace(TRAIN, epochs=1))
        assert load_checkpoint(tmp_path / "checkpoint")[0].config.head == "free"
