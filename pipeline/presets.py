"""Write a preset's values into params.yaml, where DVC tracks them; comments and the other sections stay."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.env import COPY
from risloc.config import build
from risloc.scenes.preset_files import preset
from risloc.scenes.scenario import Scenario
from risloc.utils.atomic_files import replacing

__all__ = ["PRESETS", "write_preset"]

PRESETS = COPY / "risloc" / "scenes" / "presets"


def write_preset(name: str, params: Path) -> str:
    """Replace the values of the section `scenario` of the file `params` by those of the preset; a line saying so.

    Raises
    ------
    ParamError
        No such preset (the message lists them), or a preset that is not a scenario.
    """
    build(Scenario, preset(name), f"preset {name}")
    yaml = YAML()
    yaml.width = 120
    document = yaml.load(params.read_text(encoding="utf-8"))
    _replace(document["scenario"], yaml.load((PRESETS / f"{name}.yaml").read_text(encoding="utf-8")))
    with replacing(params) as temporary, temporary.open("w", encoding="utf-8") as file:
        yaml.dump(document, file)
    return f"{params.name}: scenario is now the preset {name}; `dvc repro` runs the stages that depend on it"


def _replace(section: dict[str, Any], values: dict[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict):
            _replace(section[key], value)
        else:
            section[key] = value
