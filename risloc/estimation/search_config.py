"""The parameters of the search for sources."""

import importlib.resources
from dataclasses import dataclass

from risloc.config import build, param
from risloc.physics.grid import GridConfig
from risloc.utils.yaml_reader import read_yaml

__all__ = ["SearchConfig", "default_search"]


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How sources are searched for."""

    grid: GridConfig = param(
        "the grid of every spectrum but those below; fine enough to tell sources apart that MUSIC resolves"
    )
    rank: int = param("width of the subspace whose spectrum gives candidates: wider than K_MAX, to miss none", ge=1)
    peaks: int = param("candidates a scene: more peaks than sources", ge=1)
    separation: float = param("least distance of two candidates in (u, v)", ge=0.0)
    score_peaks: int = param(
        "how many of a network's candidates are peaks of what the snapshots say against R_pred", ge=1
    )
    exchange_rounds: int = param(
        "most rounds after each pick in which each source is taken out and searched for again, where the residual is larger "
        "than noise explains; 0: none",
        ge=0,
    )
    exchange_tries: int = param("places that are tried for a source that was taken out", ge=1)
    steps_between: int = param("most Gauss-Newton steps of the joint fit after each pick", ge=0)
    iterations: int = param("most Gauss-Newton steps of the last joint fit", ge=1)
    coarse: GridConfig = param(
        "the grid of a network's candidates, of matching pursuit and of exchanges, which the fit refines, and of sparse Bayesian "
        "learning"
    )
    sparse_iterations: int = param("sparse Bayesian learning: updates of the powers", ge=1)


def default_search() -> SearchConfig:
    """Return the search parameters of the package, which are those of the repository's params.yaml.

    Returns
    -------
    SearchConfig
        The parameters.
    """
    with importlib.resources.as_file(importlib.resources.files("risloc.estimation") / "search.yaml") as path:
        return build(SearchConfig, read_yaml(path), "search")
