"""The study of echoes: a cell at a small size, its page, and an interrupted run that is resumed."""

import dataclasses
from pathlib import Path

import pytest

from risloc import scenario as named_scenario
from studies import echoes
from studies.echoes_page import PAGE, RESULTS, Results, page, read_results, write_results

SCENES = 6


@pytest.fixture(scope="module")
def cell():
    default = named_scenario("default")
    law = dataclasses.replace(default.echoes, law="farther", paths=2, power_db=-6.0)
    world = echoes.World("two echoes", dataclasses.replace(default, echoes=law), (20.0,), (1,), paired=True)
    return echoes.measured(world, 20.0, 1, SCENES)


def test_echoes_that_are_modelled_cost_little_and_those_that_are_not_cost_much(cell):
    modelled, known = cell.gospa[echoes.GIVEN], cell.gospa["NOMP, K by BIC"]
    assert modelled.value < known.value / 5
    assert cell.right[echoes.GIVEN].value == 1
    assert cell.right["NOMP, K by BIC"].value < 0.5
    assert cell.close[echoes.GIVEN].value > 0.8
    assert cell.ratio[echoes.GIVEN].low <= cell.ratio[echoes.GIVEN].value <= cell.ratio[echoes.GIVEN].high
    assert set(cell.inside[echoes.GIVEN]) == {"68%", "95%", "resolved"}


def test_without_sources_there_is_no_bound(cell):
    world = echoes.World("nothing", named_scenario("default"), (10.0,), (0,), paired=False)
    empty = echoes.measured(world, 10.0, 0, SCENES)
    assert empty.right[echoes.GIVEN].value == 1
    assert empty.close == {}
    lines = "\n".join(page(Results(SCENES, {"nothing; 10 dB; K = 0": empty})))
    assert "root-CRB, RMS" not in lines


def test_results_come_back_from_their_file_and_make_the_same_page(cell, tmp_path: Path):
    results = Results(SCENES, {"two echoes; 20 dB; K = 1": cell})
    write_results(results, tmp_path / "echoes.json", tmp_path / "echoes.md")
    again = read_results(tmp_path / "echoes.json")
    assert again == results
    assert (tmp_path / "echoes.md").read_text(encoding="utf-8") == "\n".join(page(again)) + "\n"


def test_what_is_kept_is_not_measured_again(cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("docs").mkdir()
    plan = echoes.plan()
    names = [echoes.key(world.name, snr_db, count) for world, snr_db, count in plan]
    assert len(set(names)) == len(names)
    write_results(Results(SCENES, dict.fromkeys(names[1:], cell)))
    measured: list[str] = []

    def once(world: echoes.World, snr_db: float, count: int, scenes: int) -> object:
        measured.append(echoes.key(world.name, snr_db, count))
        return cell

    monkeypatch.setattr(echoes, "measured", once)
    monkeypatch.setattr("sys.argv", ["echoes", "--scenes", str(SCENES)])
    echoes.main()
    assert measured == names[:1]


def test_the_published_page_is_that_of_its_results():
    results = read_results(RESULTS)
    assert results is not None
    assert PAGE.read_text(encoding="utf-8") == "\n".join(page(results)) + "\n"
