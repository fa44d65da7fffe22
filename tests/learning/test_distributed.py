"""One training in parts, on one process and on several: the same step, each scene once, and every way to lose a rank."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from learning_problem import ALL, FIT, network, scenes
from learning_shards import SEED, make_shards
from small_training import losses, small, torchrun, train_there

from pipeline.console_reporter import ConsoleReporter
from risloc.io.shard_batches import batches
from risloc.io.shard_reader import ShardReader
from risloc.learning.distributed import ALONE, joined, share
from risloc.learning.fresh_batches import fresh_batches
from risloc.learning.loss import Whole, loss_terms
from risloc.learning.trainer import Trainer
from risloc.scenes.batch import Scenes
from risloc.scenes.scenario import Scenario

TRAIN_SCENES, VAL_SCENES = 49, 40  # the last batch of 16 has one scene: nothing for rank 1


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("parallel"), small(), train=TRAIN_SCENES, val=VAL_SCENES)


@pytest.fixture
def folder(shards: Path, tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "shards").symlink_to(shards)
    return tmp_path


@given(count=st.integers(0, 200), parts=st.integers(1, 12))
def test_shares_are_all_of_it_once_and_even(count: int, parts: int) -> None:
    shares = [range(count)[share(count, index, parts)] for index in range(parts)]
    assert [i for each in shares for i in each] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert len(shares[0]) == max(map(len, shares))


@pytest.mark.parametrize("sizes", [(9,), (5, 4), (1, 3, 5), (0, 9)])
@pytest.mark.parametrize("span", [(0, 2), (0, 0), (2, 2)])
def test_the_terms_of_the_parts_add_up_to_those_of_the_step(sizes: tuple[int, ...], span: tuple[int, int]) -> None:
    scenario = dataclasses.replace(small(), K_span=span)
    net, data = network(scenario).eval(), scenes(scenario, 9)

    def terms(batch: Scenes, whole: Whole | None) -> dict[str, float]:
        prediction, _, R_blend = net.blend(batch.observation)
        found = loss_terms(prediction, R_blend, batch, net.array, net.grid, ALL, whole)
        return {name: float(value.detach()) for name, value in found.values.items()}

    whole = Whole(len(data), int((data.truth.count > 0).sum()))
    low, sums = 0, dict.fromkeys(terms(data, None), 0.0)
    for size in filter(None, sizes):
        part = terms(data[low : low + size], whole)
        sums, low = {name: sums[name] + part[name] for name in sums}, low + size
    assert sums == pytest.approx(terms(data, None), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("accumulate", [4, 100])
def test_a_step_in_parts_is_the_same_step(accumulate: int) -> None:
    """The same gradient; Adam makes whole steps of what rounding leaves of a gradient of zero, so weights by norm."""
    data, ends = scenes(small(), 20), []
    for parts in (1, accumulate):
        fit, said = dataclasses.replace(FIT, accumulate=parts), []
        trainer = Trainer(network(small()), ALL, fit, epochs=3, steps_per_epoch=2, device=torch.device("cpu"))
        rows = [trainer.train_epoch([data], on_first=said.append, on_step=lambda _: None)]
        gradient = torch.cat([p.grad.flatten() for p in trainer.network.looks.parameters()])
        steps = [data[:16], data[16:]]
        rows += [trainer.train_epoch(steps, on_first=said.append, on_step=lambda _: None) for _ in range(2)]
        weights = torch.cat([p.detach().flatten() for p in trainer.averaged.parameters()])
        ends.append((rows, said, gradient, weights))
    (rows, said, gradient, weights), (own_rows, own_said, own_gradient, own_weights) = ends
    for one, other in zip(rows, own_rows, strict=True):
        assert other == pytest.approx(one, rel=1e-4, abs=1e-6)
    for one, other in zip(said, own_said, strict=True):
        assert (other.weights, other.R_blend_requires_grad) == (one.weights, True)
        assert other.loss_nmse == pytest.approx(one.loss_nmse, rel=1e-4)
    assert float((own_gradient - gradient).norm()) < 1e-4 * float(gradient.norm())
    assert float((own_weights - weights).norm()) < 3e-3 * float(weights.norm())


def test_one_process_is_a_group_of_itself() -> None:
    module = torch.nn.Linear(1, 1)
    assert joined() is ALONE
    assert ALONE.first
    assert ALONE.gather("a") == ["a"]
    assert ALONE.in_turn([1, 2]) == [1, 2]
    assert ALONE.replicated(module) is module


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("order", [None, 7])
def test_fresh_scenes_are_drawn_once_over_all_ranks(small_scenario: Scenario, size: int, order: int | None) -> None:
    cut = {"seed": 5, "split": "train", "start": 10, "stop": 21, "order": order}
    whole = list(fresh_batches(small_scenario, 4, **cut))
    ranks = [list(fresh_batches(small_scenario, 4, **cut, part=(rank, size))) for rank in range(size)]
    for batch, *shares in zip(whole, *ranks, strict=True):
        parts = [each.observation.noise_var for each in shares]
        assert torch.equal(torch.cat(parts), batch.observation.noise_var)


def test_validation_batches_are_dealt_out_one_by_one(shards: Path) -> None:
    reader = ShardReader(shards / "val")
    whole = [batch.observation.noise_var.tolist() for batch in batches(reader, 16)]
    dealt = [[b.observation.noise_var.tolist() for b in batches(reader, 16, worker=(rank, 2))] for rank in range(2)]
    assert [len(each) for each in dealt] == [2, 1]
    assert [dealt[0][0], dealt[1][0], dealt[0][1]] == whole


def test_two_ranks_train_as_one_process_does(folder: Path) -> None:
    done = torchrun(folder, 2, "none", fresh=False, epochs=3)
    assert done.returncode == 0, done.stderr
    pair = losses(folder)
    assert not list((folder / ".state" / "train").iterdir())
    assert done.stdout.count("rank 0: First step") == 1
    shutil.rmtree(folder / "reports")
    train_there(folder, ConsoleReporter(), fresh=False, epochs=3)
    assert len(pair) == 3
    for one, two in zip(losses(folder), pair, strict=True):
        assert two == pytest.approx(one, rel=1e-4, abs=1e-6)

    ranks = [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(2)]
    assert ranks[0]["checksum"] == ranks[1]["checksum"]
    assert ranks[0]["skipped"] == ranks[1]["skipped"] == 0
    reader = ShardReader(folder / "data" / "shards" / "train")
    for epoch in range(3):
        shares = [rank["given"][epoch] for rank in ranks]
        assert [len(batch) for batch in shares[0]] == [8, 8, 8, 1]
        assert [len(batch) for batch in shares[1]] == [8, 8, 8, 0]
        seen = [a + b for a, b in zip(*shares, strict=True)]
        assert seen == [b.observation.noise_var.tolist() for b in batches(reader, 16, seed=SEED, epoch=epoch)]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("error", "OSError: no space left on this rank"),
        ("poison", "FloatingPointError: loss: expected a finite value, got nan (terms: loss_rng)"),
        (
            "stray",
            "ValueError: ranks: expected the same inputs and state in all, got (fingerprint of the inputs, epoch) [(",
        ),
    ],
)
def test_an_error_on_one_rank_ends_all(folder: Path, fault: str, message: str) -> None:
    done = torchrun(folder, 2, fault, fresh=False, epochs=2)
    assert done.returncode == 1
    assert message in done.stderr
    assert not (folder / "models" / "network").exists()
    assert list((folder / ".state" / "train").iterdir())
