"""The house keeps its own rules: layers, dvc.yaml true to the code, commands that exist, silence in the science."""

import ast
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest
import source_tree as house
import yaml
from packaging.specifiers import SpecifierSet

import risloc
from docs.build.architecture import room_of
from pipeline.dependencies import lists_of, signature, write_dependencies
from pipeline.layout import PATHS, STAGES
from risloc.utils.yaml_reader import read_yaml
from stages.support.imports import closure

SCIENCE = {"torch", "numpy", "h5py", "scipy", "ruamel", "safetensors", "jaxtyping"}
STAGE_WORK = SCIENCE | {"tqdm", "matplotlib", "jinja2", "optuna", "sqlalchemy", "psutil"}
BESIDE = {  # no science imports them
    Path("risloc/plotting/static.py"): {"matplotlib"},
    Path("risloc/plotting/figure_files.py"): {"matplotlib"},
    Path("risloc/utils/progress.py"): {"tqdm"},
    Path("risloc/plotting/interactive.py"): {"plotly"},
}
TRACER = {Path("risloc/scenes/raytracer.py"): {"sionna", "mitsuba", "drjit"}}  # in a process of its own
ORCHESTRATION = {"prefect", "mlflow", "dvc"}
COMMAND_LINE = SCIENCE | {"click", "tqdm", "matplotlib", "plotly", "packaging"}
STANDARD = set(sys.stdlib_module_names)
DESCRIBED = yaml.safe_load((Path(__file__).parents[2] / "dvc.yaml").read_text(encoding="utf-8"))


def test_imports_go_down_only(repository: Path) -> None:
    for layer, allowed in {"risloc": ("risloc",), "stages": ("risloc", "stages"), "pipeline": house.LAYERS}.items():
        for path in house.modules(repository, layer):
            for other in house.local_imports(repository, path):
                assert other.parts[0] in allowed, f"{path} imports {other}: layers import downwards only"


def test_each_room_of_risloc_stands_on_those_below_it(repository: Path) -> None:
    inside = [path for path in house.modules(repository, "risloc") if room_of(path) not in ("__init__", "__main__")]
    assert {room_of(path) for path in inside} == set(house.ROOMS), "a new room needs its place in house.ROOMS"
    for path in inside:
        for other in house.local_imports(repository, path):
            if other != Path("risloc/__init__.py"):
                above = house.ROOMS.index(room_of(other)) > house.ROOMS.index(room_of(path))
                assert not above, f"{path} imports {other}: {room_of(other)} stands above {room_of(path)}"


def test_what_stages_share_knows_no_stage(repository: Path) -> None:
    allowed = {
        "support": {"support"},
        "tuning": {"support", "tuning"},
        "evaluation": {"support", "evaluation"},
        "reporting": {"support", "evaluation", "reporting"},
    }
    for folder, below in allowed.items():
        for path in house.modules(repository, f"stages/{folder}"):
            for other in house.local_imports(repository, path):
                assert other.parts[0] == "risloc" or other.parts[1] in below, f"{path} imports {other}"


def test_each_layer_knows_only_its_libraries(repository: Path) -> None:
    command, stages = house.modules(repository, str(house.COMMAND)), house.modules(repository, "stages")
    for paths, allowed in ((house.science(repository), SCIENCE), (command, COMMAND_LINE), (stages, STAGE_WORK)):
        for path in paths:
            own = allowed | (BESIDE | TRACER).get(path, set())
            foreign = house.external_imports(repository, path) - STANDARD - own
            assert not foreign, f"{path} imports {sorted(foreign)}; {path.parent}/ may import {sorted(allowed)}"


def test_nothing_stands_on_the_command_line(repository: Path) -> None:
    for path in [*house.science(repository), *house.modules(repository, "stages", "pipeline")]:
        assert not any(house.COMMAND in other.parents for other in house.local_imports(repository, path)), path


def test_the_science_imports_no_figures(repository: Path) -> None:
    for path in house.science(repository):
        drawn = house.local_imports(repository, path) & set(BESIDE)
        assert not drawn, f"{path} imports {sorted(map(str, drawn))}: figures stand on top of the science"


def test_importing_figures_loads_no_library_that_draws() -> None:
    code = "import sys, risloc.plotting.static, risloc.cli.locate, risloc.cli.view; print({'matplotlib', 'plotly'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_optuna_is_known_to_tuning_alone(repository: Path) -> None:
    users = [p for p in house.modules(repository, *house.LAYERS) if "optuna" in house.external_imports(repository, p)]
    assert [str(path) for path in users] == [
        "stages/tuning/search_space.py",
        "stages/tuning/study.py",
        "stages/tuning/study_backend.py",
    ]


def test_orchestration_stays_in_the_pipeline(repository: Path) -> None:
    for path in house.modules(repository, "risloc", "stages"):
        assert not ORCHESTRATION & house.external_imports(repository, path), path


def test_the_science_is_silent(repository: Path) -> None:
    for path in house.science(repository):
        for node in ast.walk(ast.parse((repository / path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "print", f"{path}:{node.lineno} prints; return it or raise"


def test_no_globals_no_attribute_guessing(repository: Path) -> None:
    for path in house.modules(repository, *house.LAYERS):
        for node in ast.walk(ast.parse((repository / path).read_text(encoding="utf-8"))):
            assert not isinstance(node, ast.Global), f"{path}:{node.lineno}: a global"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                guess = node.func.id == "hasattr" or (node.func.id == "getattr" and len(node.args) > 2)
                assert not guess, f"{path}:{node.lineno}: asks whether an attribute is there"


def test_package_inits_import_nothing_of_ours(repository: Path) -> None:
    """So that a stage's import closure needs no __init__."""
    for path in house.modules(repository, *house.LAYERS):
        assert path.name != "__init__.py" or not house.local_imports(repository, path), path


def test_importing_one_module_drags_in_no_other() -> None:
    code = "import sys, risloc.config; print(sorted(m for m in sys.modules if m.startswith('risloc')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['risloc', 'risloc.config']"


def test_every_public_name_is_imported_from_where_the_stub_says() -> None:
    for name, home in risloc._HOME.items():
        value = getattr(risloc, name)
        assert value is getattr(sys.modules[home], name)
        assert name in ("music", "refine", "crb") or value.__module__ == home, (
            f"{name} is defined in {value.__module__}"
        )


def test_completion_shows_the_names_that_risloc_has() -> None:
    assert set(dir(risloc)) >= {*risloc.__all__, "__doc__", "__file__"}
    assert {name for name in dir(risloc) if not name.startswith("_")} == set(risloc.__all__) - {"__version__"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("locat", "the nearest are locate, "),
        ("Scenerio", "the nearest are Scenario, scenario, "),
        ("stearing_matrix", "the nearest are steering_matrix; "),
        ("zzz", "'zzz'; dir"),
    ],
)
def test_a_name_that_is_not_there_is_answered_by_the_nearest(name: str, said: str) -> None:
    with pytest.raises(AttributeError, match=re.escape(said)) as caught:
        getattr(risloc, name)
    assert str(caught.value).startswith(f"module 'risloc' has no attribute '{name}'; ")
    assert str(caught.value).endswith("dir(risloc) lists what it has")


def test_dvc_has_the_stages_in_order() -> None:
    assert list(DESCRIBED["stages"]) == list(STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_stage_is_true_to_the_code(repository: Path, stage: str) -> None:
    """Its params are the signature's sections, its deps the import closure and the inputs, its outs the outputs."""
    files = STAGES[stage]
    own = {"report"} | ({"metrics"} if files.metrics else set()) | ({"state"} if files.state else set())
    kinds = signature(repository, Path("stages") / f"{stage}.py")
    assert {name for name, kind in kinds.items() if kind == "Path"} - own == {*files.deps, *files.outs}
    described = DESCRIBED["stages"][stage]
    assert described["cmd"] == f"python -m pipeline {stage}"
    for key, expected in lists_of(repository, stage).items():
        assert described.get(key, []) == expected, f"dvc.yaml, {key} of {stage}: run make dependencies"
    metrics = [{f"metrics/{stage}.json": {"cache": False}}] if files.metrics else []
    assert described.get("metrics", []) == metrics
    assert "plots" not in described, "plots stand at the top level, or DVC draws them twice"


def test_a_command_writes_the_lists_and_nothing_else(repository: Path, tmp_path: Path) -> None:
    written = (repository / "dvc.yaml").read_text(encoding="utf-8")
    for layer in ("risloc", "stages"):
        (tmp_path / layer).symlink_to(repository / layer)
    spoilt = written.replace("      - stages/train.py\n", "").replace("      - data\n", "      - datum\n")
    spoilt = spoilt.replace("    outs:\n      - models/checkpoint\n", "    outs:\n      - models/other\n")
    (tmp_path / "dvc.yaml").write_text(spoilt, encoding="utf-8")
    assert write_dependencies(tmp_path) == ["simulate", "train", "order"]
    assert (tmp_path / "dvc.yaml").read_text(encoding="utf-8") == written
    assert write_dependencies(tmp_path) == []


@pytest.mark.parametrize("stage", STAGES)
def test_the_closure_holds_all_that_an_import_loads(repository: Path, stage: str) -> None:
    code = (
        f"import sys, stages.{stage}; print(*(m.__file__ for n, m in sys.modules.items() if n.split('.')[0] in "
        "('risloc', 'stages')), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    loaded = {Path(line).relative_to(repository) for line in done.stdout.splitlines()}
    modules = {str(path) for path in loaded if path.name != "__init__.py"}
    assert f"stages/{stage}.py" in modules
    assert modules <= set(lists_of(repository, stage)["deps"])


def test_a_module_imported_from_its_package_is_in_the_closure(tmp_path: Path) -> None:
    for name, text in {
        "stages/__init__.py": "",
        "stages/a.py": "from stages import b\n",
        "stages/b.py": "def work():\n    import risloc.c\n",
        "risloc/c.py": "import pipeline.d\n",
        "pipeline/d.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert closure(tmp_path, Path("stages/a.py")) == {Path("stages/a.py"), Path("stages/b.py"), Path("risloc/c.py")}


def test_what_re_runs_what() -> None:
    """A loss weight never re-runs the data; what estimates re-runs no training, and what draws runs the report alone."""
    uses = {name: set(stage.get("params", [])) | set(stage["deps"]) for name, stage in DESCRIBED["stages"].items()}

    def due(change: str) -> list[str]:
        direct = {name for name in STAGES if change in uses[name]}
        for name in STAGES:  # in order, so one pass carries a change downstream
            if any(out in uses[name] for other in direct for out in DESCRIBED["stages"][other]["outs"]):
                direct.add(name)
        return [name for name in STAGES if name in direct]

    assert due("loss") == ["overfit", "hpo", "train", "order", "evaluate", "report"]
    assert due("data") == list(STAGES)
    assert due("train") == ["train", "order", "evaluate", "report"]
    assert (
        due("order")
        == due("search")
        == due("risloc/estimation/selection.py")
        == due("risloc/performance/crb.py")
        == ["order", "evaluate", "report"]
    )
    assert due("evaluate") == ["evaluate", "report"]


def test_a_word_or_a_colour_runs_the_report_alone(repository: Path) -> None:
    drawing = {str(path) for path in house.modules(repository, "stages/reporting", "risloc/plotting")}
    for name, stage in DESCRIBED["stages"].items():
        used = drawing & set(stage["deps"])
        assert bool(used) == (name == "report"), f"{name} depends on {sorted(used)}"


def test_no_result_depends_on_how_progress_is_shown() -> None:
    shows = {"risloc/utils/progress.py", "pipeline/console_reporter.py"}
    for name, stage in DESCRIBED["stages"].items():
        assert not shows & set(stage["deps"]), name


def test_every_section_is_used(repository: Path) -> None:
    used = {section for stage in DESCRIBED["stages"].values() for section in stage.get("params", [])}
    assert used == set(read_yaml(repository / "params.yaml"))


def test_plots_are_of_outputs() -> None:
    outs = [out for stage in DESCRIBED["stages"].values() for out in stage["outs"]]
    for plot in DESCRIBED["plots"]:
        ((name, how),) = plot.items() if isinstance(plot, dict) else [(plot, None)]
        files = how["y"] if how and isinstance(how.get("y"), dict) else [name]
        for file in files:
            assert any(file.startswith(f"{out}/") for out in outs), f"{file}: no stage writes it"


def test_every_cached_output_is_ignored_by_git(repository: Path) -> None:
    outs = [out for stage in DESCRIBED["stages"].values() for out in stage["outs"]]
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", *outs, "mlflow.db", "mlartifacts/", ".state/", "study/", "peers/"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == [*outs, "mlflow.db", "mlartifacts/", ".state/", "study/", "peers/"]


def _documents(repository: Path) -> list[Path]:
    return [path for path in (repository / "README.md", repository / "CHANGELOG.md") if path.exists()]


def test_every_make_target_that_is_named_exists(repository: Path) -> None:
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    phony = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())
    assert targets == phony
    for document in [*_documents(repository), repository / "params.yaml", repository / "prefect.yaml"]:
        named = set(re.findall(r"`make ([a-z-]+)", document.read_text(encoding="utf-8")))
        named |= set(re.findall(r"^make ([a-z-]+)", document.read_text(encoding="utf-8"), re.MULTILINE))
        assert named <= targets, f"{document.name} names {sorted(named - targets)}"


def test_every_file_that_is_named_exists(repository: Path) -> None:
    deployed = yaml.safe_load((repository / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    made = (*PATHS.values(), *(f"pipeline/{deployment['name']}" for deployment in deployed))
    for document in _documents(repository):
        for name in re.findall(
            r"`((?:risloc|stages|pipeline|tests|benchmarks|docs)/[\w./-]+)`", document.read_text(encoding="utf-8")
        ):
            assert (repository / name).exists() or name.startswith(made), f"{document.name} names {name}"


def test_continuous_integration_runs_the_readme_s_test_command(repository: Path) -> None:
    assert "make test" in (repository / ".ci" / "run").read_text(encoding="utf-8")
    if (repository / "README.md").exists():
        assert "make test" in (repository / "README.md").read_text(encoding="utf-8")


def test_pinned_packages_accept_every_python_that_the_project_does(repository: Path) -> None:
    """Debian 12 brings Python 3.11.2: a pin whose Requires-Python begins at 3.11.5 breaks `make setup` there."""
    pins = re.findall(r"^([\w.-]+)==", (repository / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    installed = {each.metadata["Name"].lower().replace("_", "-"): each for each in importlib.metadata.distributions()}
    metadata = [installed[name].metadata for name in pins if name in installed]
    assert len(metadata) > 100
    for python in ("3.11.0", "3.12.0"):
        refusing = [
            f"{each['Name']} {each['Version']}: {each['Requires-Python']}"
            for each in metadata
            if not SpecifierSet(each.get("Requires-Python", "")).contains(python)
        ]
        assert not refusing, python


def test_constraints_pin_what_anyone_can_install(repository: Path) -> None:
    for line in (repository / "constraints.txt").read_text(encoding="utf-8").splitlines():
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.!]*", line), f"{line}: expected name==public version"


def test_modules_and_functions_can_be_read_at_one_sitting(repository: Path) -> None:
    """At most 300 lines a module, and 50 a function besides its docstring."""
    code = house.modules(repository, *house.LAYERS, "studies", "benchmarks", "docs/build")
    for path in code:
        text = (repository / path).read_text(encoding="utf-8")
        assert text.count("\n") <= 300, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                first = node.body[0]
                docstring = first if ast.get_docstring(node) else None
                described = docstring.end_lineno - docstring.lineno + 1 if docstring and docstring.end_lineno else 0
                lines = (node.end_lineno or 0) - node.lineno + 1 - described
                assert lines <= 50, f"{path}: {node.name} has {lines} lines"
