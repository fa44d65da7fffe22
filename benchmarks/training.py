"""Milliseconds of a training step and what they go to; scenes a second of the whole loop, and its wait for scenes.

    python -m benchmarks.training [--parts step loop precision operators shapes compile]

The default scenario with the network, losses and batch of params.yaml, on the accelerator where there is one, else on one
core where nothing else is said. What is compared takes turns in one run; a ratio is the median over the rounds. Without a
GPU all but the loop and the compiler is in seconds of the processor, so that waiting for a busy one does not count.
"""

import argparse
import functools
import itertools
import json
import math
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.timing import alternately, median_ratio
from benchmarks.training_steps import (
    PARTS,
    SEED,
    SPLIT,
    STEP,
    Clock,
    draw,
    in_turns,
    now,
    profiled,
    seconds,
    trainer_of,
)
from pipeline.console_reporter import ConsoleReporter
from risloc.io.scene_arrays import arrays_of
from risloc.io.shard_batches import batches
from risloc.io.shard_reader import ShardReader
from risloc.io.shard_writer import write_shard
from risloc.learning.fresh_batches import fresh_batches
from risloc.learning.trainer import Trainer
from risloc.scenes.batch import Scenes
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate
from risloc.utils.device import best_device, half_precision
from risloc.utils.yaml_reader import read_yaml
from stages.support.fitting import Data, Log, fit_epoch

ROUNDS, STEPS, TOP = 7, 7, 12
LOOP_ROUNDS, LOOP_STEPS = 3, 16
PASS, PASS_AND_LOSS = "the forward pass", "the forward pass and the losses"


def main() -> None:
    """Print what each part found, and the same as JSON at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ("step", "loop", "precision", "operators", "shapes", "compile")
    parser.add_argument("--parts", nargs="+", choices=names, default=names, help="parts to run; compile takes minutes")
    chosen = parser.parse_args().parts
    torch.set_num_threads(1)
    device = best_device()
    trainer = trainer_of(device)
    network, size = trainer.network, trainer.fit.batch_size
    planes, rows, columns = network.grid.shape
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{os.cpu_count()} cores, no GPU"
    print(
        f"N = {network.array.size}, map {planes} x {rows} x {columns}, {network.config.channels} channels, "
        f"{network.config.passes} passes, batch of {size}, half precision {_half(device)}, {where}\n{_load()}"
    )
    drawn = [draw(network.scenario, size, index) for index in range(STEPS)]
    with tempfile.TemporaryDirectory() as folder:
        reader = _shard(network.scenario, LOOP_STEPS * size, Path(folder) / "shards")
        parts: dict[str, Callable[[], Mapping[str, Any]]] = {
            "step": lambda: _step(trainer, drawn, reader),
            "loop": lambda: _loop(trainer, reader),
            "precision": lambda: _precision(device, drawn),
            "operators": lambda: _operators(trainer, drawn),
            "shapes": lambda: _shapes(device, size),
            "compile": _compiled,
        }
        results = {name: part() for name, part in parts.items() if name in chosen}
        reader.close()
    print(f"{_load()}\n{json.dumps(results)}")


def _shard(scenario: Scenario, scenes: int, folder: Path) -> ShardReader:
    folder.mkdir()
    arrays = arrays_of(simulate(scenario, seed=SEED, split=SPLIT, start=0, stop=scenes), scenario.code_bits)
    write_shard(folder / "0.h5", scenario, arrays, seed=SEED, split=SPLIT, start=0, chunk=32)
    return ShardReader(folder)


def _step(trainer: Trainer, drawn: Sequence[Scenes], reader: ShardReader) -> dict[str, float]:
    """What a step goes to, and what its batch takes to come by."""
    clock, size, scenario = Clock(trainer), trainer.fit.batch_size, trainer.network.scenario
    loaders: dict[str, Callable[[], object]] = {
        "a fresh batch drawn": lambda: [draw(scenario, size, index) for index in range(LOOP_STEPS)],
        "a batch read from shards": lambda: sum(len(batch) for batch in batches(reader, size, seed=SEED)),
    }
    taken: dict[str, list[float]] = {name: [] for name in loaders}

    def load(name: str) -> None:
        began = now(trainer.device)
        loaders[name]()
        taken[name].append((now(trainer.device) - began) / LOOP_STEPS)

    alternately({STEP: lambda: clock.epoch(drawn), **{name: functools.partial(load, name) for name in loaders}}, ROUNDS)
    steps = clock.steps[STEPS - 1 :]  # without the round that warms up
    times = {name: [step[name] for step in steps] for name in PARTS} | {name: taken[name][1:] for name in loaders}
    medians = {name: 1e3 * statistics.median(each) for name, each in times.items()}
    print(f"{'a step [ms]':52s} {'median':>9s} {'best':>9s} {'share':>7s}")
    for name, ms in medians.items():
        print(f"  {name:50s} {ms:9.1f} {1e3 * min(times[name]):9.1f} {ms / medians[STEP]:7.1%}")
    return _rounded(medians)


def _loop(trainer: Trainer, reader: ShardReader) -> dict[str, dict[str, float]]:
    """Epochs as the stage train runs them: scenes a second, and the share of the time that the loop waits for scenes.

    Beside them, epochs on batches in memory: the difference is what a loader costs, waited for or not.
    """
    size, scenes, starts = trainer.fit.batch_size, len(reader), itertools.count(step=len(reader))

    def fresh(_: int) -> Iterator[Scenes]:
        start = next(starts)
        return fresh_batches(reader.scenario, size, seed=SEED, split=SPLIT, start=start, stop=start + scenes)

    def read(epoch: int) -> Iterator[Scenes]:
        return batches(reader, size, seed=SEED, epoch=epoch)

    in_memory = list(batches(reader, size))

    def run(threads: int, train: Callable[[int], Iterator[Scenes]], paces: list[dict[str, float]]) -> None:
        report = ConsoleReporter()
        data = Data(train=train, validation=lambda: iter([reader.read(slice(0, 8))]), scenes=scenes)
        torch.set_num_threads(threads)
        with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
            fit_epoch(trainer, data, Log(report))
        torch.set_num_threads(1)
        paces.extend(value[0] for kind, value in report.records if kind == "metrics")  # type: ignore[index]

    paces: dict[str, list[dict[str, float]]] = {}
    works: dict[str, Callable[[], object]] = {}
    sources = {"fresh scenes": fresh, "shards": read, "batches in memory": lambda _: iter(in_memory)}
    for (source, train), threads in itertools.product(sources.items(), (1, 2)):
        name = f"{source}, {threads} thread{'s' if threads > 1 else ''}"
        works[name] = functools.partial(run, threads, train, paces.setdefault(name, []))
    alternately(works, LOOP_ROUNDS)
    print(f"{f'the loop, epochs of {scenes} scenes [scenes/s]':52s} {'median':>9s} {'best':>9s} {'waiting':>7s}")
    results = {}
    for name, each in paces.items():
        speeds, waits = ([pace[key] for pace in each[1:]] for key in ("scenes_per_second", "loader_wait"))
        print(f"  {name:50s} {statistics.median(speeds):9.0f} {max(speeds):9.0f} {statistics.median(waits):7.2%}")
        results[name] = _rounded(
            {"scenes_per_second": statistics.median(speeds), "loader_wait": statistics.median(waits)}
        )
    return results


def _precision(device: torch.device, drawn: Sequence[Scenes]) -> dict[str, float]:
    took = in_turns({"on": trainer_of(device), "off": trainer_of(device, amp=False)}, drawn, ROUNDS)
    on, off = (1e3 * statistics.median(each) for each in took.values())
    ratio = median_ratio(took["on"], took["off"])
    print(f"network.amp, {_half(device)}: a step takes {on:.1f} ms, without it {off:.1f}: {ratio:.2f}")
    return _rounded({"amp_ms": on, "full_ms": off, "ratio": ratio})


def _compiled() -> dict[str, dict[str, float] | str]:
    """torch.compile of a part of the step: what it costs once, what it saves in each step, when that is even.

    Each part in a process and with a cache of its own, so that nothing of it has been compiled before.
    """
    results: dict[str, dict[str, float] | str] = {}
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for name in (PASS, PASS_AND_LOSS):
            found = results[name] = pool.apply(_compile, (name,))
            if isinstance(found, str):
                print(f"torch.compile of {name} failed: {found}")
                continue
            epochs = found["pays_after_steps"] / found["steps_an_epoch"]
            pays = f"pays after {epochs:.1f} epochs" if epochs > 0 else "never pays"
            print(
                f"torch.compile of {name}: {found['once_s']:.0f} s once, then a step takes {found['ms']:.1f} ms, eager "
                f"{found['eager_ms']:.1f}: {found['ratio']:.2f}, {pays}",
                flush=True,
            )
    return results


def _compile(name: str) -> dict[str, float] | str:
    """The figures of a part, or why it cannot be compiled."""
    torch.set_num_threads(1)
    device = best_device()
    eager, other = trainer_of(device), trainer_of(device)
    size, scenes = eager.fit.batch_size, read_yaml(Path("params.yaml"))["data"]["train"]
    drawn = [draw(eager.network.scenario, size, index) for index in range(STEPS)]
    owner, part = (other.network, "blend") if name == PASS else (other, "part")
    with tempfile.TemporaryDirectory() as folder, patch.object(owner, part, torch.compile(getattr(owner, part))):
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        began = time.perf_counter()
        try:
            seconds(other, drawn[:2])
        except RuntimeError as error:  # among others: no C++ compiler
            return str(error).strip().partition("\n")[0]
        once = time.perf_counter() - began
        took = in_turns({"eager": eager, "compiled": other}, drawn, ROUNDS)
    ratio, (plain, fast) = median_ratio(took["compiled"], took["eager"]), map(statistics.median, took.values())
    result = {"once_s": once, "ms": 1e3 * fast, "eager_ms": 1e3 * plain, "ratio": ratio}
    return _rounded({**result, "pays_after_steps": once / ((1 - ratio) * plain), "steps_an_epoch": -(-scenes // size)})


def _operators(trainer: Trainer, drawn: Sequence[Scenes]) -> dict[str, float]:
    profiler, steps = profiled(trainer, drawn), len(drawn) - 2
    which = "self_device_time_total" if trainer.device.type == "cuda" else "self_cpu_time_total"
    rows = [row for row in profiler.key_averages() if not row.key.startswith("ProfilerStep")]
    times = sorted(((getattr(row, which) / 1e3 / steps, row.key, row.count / steps) for row in rows), reverse=True)
    whole = sum(ms for ms, _, _ in times)
    print(f"{'operators, by their own time in a step [ms]':52s} {'mean':>9s} {'calls':>9s} {'share':>7s}")
    for ms, name, calls in times[:TOP]:
        print(f"  {name:50s} {ms:9.1f} {calls:9.0f} {ms / whole:7.1%}")
    return _rounded({name: ms for ms, name, _ in times[:TOP]})


def _shapes(device: torch.device, size: int) -> dict[str, int]:
    """The largest tensor that a step works on, at N and at 4 N on one map: N x N matrices would outgrow all else."""
    results = {}
    for finer in (1, 2):
        trainer = trainer_of(device, finer=finer)
        N = trainer.network.array.size
        events = profiled(trainer, [draw(trainer.network.scenario, size, 0)] * 3).events()  # type: ignore[no-untyped-call]
        shapes = {shape for event in events for shape in _flat(event.input_shapes)}
        square = [shape for shape in shapes if shape.count(N) > 1 or N * N in shape]
        largest = max(shapes, key=math.prod)
        print(
            f"N = {N}: {len(shapes)} shapes of tensors in a step; with N twice, or N^2: {square or 'none'}; the largest is "
            f"{' x '.join(map(str, largest))}: {math.prod(largest) / 1e6:.2f} million numbers, N x N for each scene would be "
            f"{size * N * N / 1e6:.2f}"
        )
        results[f"N = {N}"] = math.prod(largest)
    return results


def _flat(shapes: Any) -> Iterator[tuple[int, ...]]:
    """The shapes of tensors, also of those in lists."""
    if isinstance(shapes, list) and shapes and all(isinstance(size, int) for size in shapes):
        yield tuple(shapes)
    elif isinstance(shapes, list | tuple):
        for each in shapes:
            yield from _flat(each)


def _half(device: torch.device) -> str:
    return str(half_precision(device)).removeprefix("torch.")


def _load() -> str:
    one, five, fifteen = os.getloadavg()
    return f"load of the machine over 1, 5 and 15 minutes: {one:.1f}, {five:.1f}, {fifteen:.1f}"


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name.strip(): float(f"{value:.4g}") for name, value in values.items()}


if __name__ == "__main__":
    main()
