"""Shipped networks beside NOMP in a ray-traced hall, by line of sight and with reflections, and docs/room.md.

    python -m studies.room [--places 60]        (`make room`)

Traces lie in ship/room, and a cell that has been computed with the same code, networks and traces in ship/room.json, so that
an interrupted run is resumed.
"""

import argparse
import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from risloc.config import as_mapping, build
from risloc.estimation.localiser import Localiser
from risloc.estimation.search_config import SearchConfig
from risloc.learning.checkpoint import SHIPPED, load_checkpoint, shipped_checkpoint
from risloc.physics.geometry import position_of
from risloc.scenes.batch import Scenes
from risloc.scenes.preset_files import preset
from risloc.scenes.raytraced_simulation import received, trace_channel, trace_waves
from risloc.scenes.room import Room, read_room
from risloc.scenes.scenario import Scenario
from risloc.scenes.simulation import simulate
from risloc.utils.atomic_files import replacing
from risloc.utils.yaml_reader import read_yaml
from stages.support.resumable import source_digest, work_key
from studies.room_methods import Cell, measured
from studies.room_page import page
from studies.room_worlds import COUNTS, PLACEMENTS, SNRS, WORLDS, World

SEED, TRACED_TOGETHER = 20261125, 64
DRAWS = 2  # of codes, powers, symbols and noise for the same places: a trace costs a second a source
TRACES, KEPT, PAGE = Path("ship/room"), Path("ship/room.json"), Path("docs/room.md")


def main() -> None:
    """Compute what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", type=int, default=60, help="placements of the sources in each cell")
    torch.set_num_threads(1)
    study = Study(parser.parse_args().places)
    worlds = {name: (study.reflected_db(world), study.table(world)) for name, world in WORLDS.items()}
    placements = {name: study.table(world, counts=(2,), snrs=(10.0,)) for name, world in PLACEMENTS.items()}
    with replacing(PAGE) as temporary:
        temporary.write_text("\n".join(page(study.count, DRAWS, worlds, placements)) + "\n", encoding="utf-8")
    print(f"{PAGE} is written")


@dataclass(frozen=True)
class Waves:
    """Traced responses by the place of their source: [depth, elem, src], the sources' locations in the order of the last axis."""

    location: torch.Tensor
    waves: torch.Tensor

    def of(self, scenes: Scenes, depth: int) -> torch.Tensor:
        """[batch, elem, src]: the responses of the scenes' sources, 0 in empty slots."""
        truth = scenes.truth
        found = torch.zeros(len(scenes), self.waves.shape[1], truth.location.shape[1], dtype=self.waves.dtype)
        same = (truth.location[truth.present][:, None] == self.location).all(-1)
        found.mT[truth.present] = self.waves[depth].T[same.int().argmax(1)]
        return found


class Study:
    """Cells of scenes, computed once."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.scenario = build(Scenario, preset("default"), "default")
        self.room = read_room("hall")
        search = build(SearchConfig, read_yaml(Path("params.yaml"))["search"], "search")
        self.localiser = Localiser(self.scenario, search)
        self.networks = {name: load_checkpoint(shipped_checkpoint(name))[0] for name in SHIPPED}
        weights = [(shipped_checkpoint(name) / "model.safetensors").read_bytes() for name in SHIPPED]
        code = [
            source_digest(name)
            for name in ("risloc.estimation.localiser", "risloc.scenes.raytraced_simulation", measured.__module__)
        ]
        self.state = hashlib.sha256(b"".join(weights) + "".join(code).encode()).hexdigest()
        self.kept: dict[str, Cell] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else {}

    def reflected_db(self, world: World) -> float:
        """Power of a source's reflections over its line of sight's, mean over the elements, median over sources."""
        waves = self._waves(self._walls(world)).waves
        reflected = (waves[world.depth] - waves[0]).abs().square().mean(0)
        return float(10 * reflected.median().log10())

    def table(
        self, world: World, counts: tuple[int, ...] = COUNTS, snrs: tuple[float, ...] = SNRS
    ) -> Mapping[tuple[int, float], Cell]:
        """The cells of a world by number of sources and SNR."""
        return {(k, snr): self.cell(world, k, snr) for snr in snrs for k in counts}

    def cell(self, world: World, sources: int, snr_db: float) -> Cell:
        """What every method does in the scenes of so many sources."""
        room = dataclasses.replace(self.room, **world.changes)
        asked = [self.state, as_mapping(self.scenario), as_mapping(room), world.depth, world.spreading]
        key = hashlib.sha256(json.dumps([*asked, sources, snr_db, self.count, DRAWS, SEED]).encode()).hexdigest()[:20]
        if key not in self.kept:
            print(f"{world}, K = {sources}, {snr_db:g} dB", flush=True)
            self.kept[key] = measured(self.scenes(world, room, sources, snr_db), self.localiser, self.networks)
            KEPT.parent.mkdir(exist_ok=True)
            with replacing(KEPT) as temporary:
                temporary.write_text(json.dumps(self.kept), encoding="utf-8")
        return self.kept[key]

    def scenes(self, world: World, room: Room, sources: int, snr_db: float) -> Scenes:
        """The scenes of a cell as the base station receives them."""
        drawn = self._drawn(sources, snr_db)
        waves = self._waves(self._walls(world)).of(drawn, world.depth)
        if world.spreading:
            waves = waves * self._spreading(drawn)
        H = self._kept_trace("H", room, functools.partial(trace_channel, room, self.scenario.surface.array))[
            world.depth
        ]
        return received(drawn, self.scenario, H, waves, seed=SEED, split="test", start=0)

    def _drawn(self, sources: int, snr_db: float) -> Scenes:
        stop = DRAWS * self.count
        drawn = simulate(self.scenario, seed=SEED, split="test", start=0, stop=stop, snr_db=snr_db, count=sources)
        location = drawn.truth.location[: self.count].repeat(DRAWS, 1, 1)
        return Scenes(drawn.observation, dataclasses.replace(drawn.truth, location=location))

    def _spreading(self, scenes: Scenes) -> torch.Tensor:
        """[batch, elem, src]: r / d_n, what free space does to the modulus from element to element."""
        elements = torch.nn.functional.pad(self.scenario.surface.array.elements.float(), (0, 1))
        distance = torch.cdist(elements, position_of(scenes.truth.location))
        return scenes.truth.location[:, None, :, 2] / distance

    def _walls(self, world: World) -> Room:
        """The world's walls with the hall's own base station, of which the sources' waves know nothing."""
        own = {name: value for name, value in world.changes.items() if not name.startswith("bs_")}
        return dataclasses.replace(self.room, **own)

    def _waves(self, walls: Room) -> Waves:
        every = [scenes.location[scenes.present] for scenes in (self._drawn(k, 10.0).truth for k in COUNTS)]
        location = torch.unique(torch.cat(every), dim=0)
        array = self.scenario.surface.array
        parts = [
            self._kept_trace(f"waves {n}", walls, functools.partial(trace_waves, walls, array, part))
            for n, part in enumerate(location.split(TRACED_TOGETHER))
        ]
        return Waves(location, torch.cat(parts, dim=2).to(torch.complex64))

    def _kept_trace(self, name: str, room: Room, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        key = work_key(
            "risloc.scenes.raytraced_simulation", as_mapping(room), as_mapping(self.scenario), name, self.count, SEED
        )
        path = TRACES / f"{key}.npy"
        if not path.is_file():
            print(f"tracing {name}, {room.faces['floor']}", flush=True)
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.save(file, make().numpy())
        return torch.from_numpy(np.load(path))


if __name__ == "__main__":
    main()
