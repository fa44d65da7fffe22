"""Made-up tables of a test, and a small shipped network: what a model card is made of."""

from collections.abc import Callable
from pathlib import Path
from random import Random

from learning_problem import network

from risloc.learning.checkpoint import save_checkpoint
from risloc.scenes.scenario import Scenario
from stages.evaluation.method import Method
from studies import ship
from studies.card import BOTH, SHOWN, Tested
from studies.table_rows import Tables

SNRS = (0.0, 10.0, 20.0)
TESTED = Tested("default", "abc1234, changed", 0.9)
REFINED = [f"{base.name}{rule}" for base in SHOWN for rule in ("", "_bic", "_bic_noise")]
METHODS = [
    *REFINED,
    *(f"{base.name}_learnt" for base in BOTH),
    *(f"{base}_stochastic{rule}" for base in ("R_blend", "nomp") for rule in ("", "_bic")),
]


def made_up(**columns: tuple[float, float]) -> Callable[[], dict[str, float]]:
    """Draws values of these columns between the two ends, each with an interval of its own."""
    draw = Random(7).uniform

    def row() -> dict[str, float]:
        values = {name: draw(*ends) for name, ends in columns.items()}
        low = {f"{name}_low": value - draw(0.01, 0.1) for name, value in values.items()}
        return values | low | {f"{name}_high": value + draw(0.01, 0.1) for name, value in values.items()}

    return row


def made_tables() -> Tables:
    """Tables of every method at three SNRs and up to two sources, no two numbers the same."""
    gospa = made_up(**{f"gospa_{cutoff}m": (0.2, 2.0) for cutoff in ("2", "0.5", "5")})
    bound = made_up(within_3_root_crb=(0.5, 1.0), error_over_root_crb_median=(0.5, 2.0))
    less, right = made_up(gospa_2m_less_nomp=(-0.1, 0.1)), made_up(K_accuracy=(0.1, 1.0))
    quality = made_up(nmse_median=(0.0, 1.0), overlap_median=(0.0, 1.0))
    cells = [(snr, count) for snr in SNRS for count in (0, 1, 2)]
    fixed = {"sources": 500, "error_over_root_crb_rms_within_3": 1.1}
    return {
        "by_snr": [{"method": m, "snr_db": snr, "scenes": 1234} | gospa() for m in METHODS for snr in SNRS],
        "by_cell": [{"method": m, "snr_db": snr, "count": k} | fixed | bound() for m in METHODS for snr, k in cells],
        "paired": [{"method": m, "snr_db": snr} | less() for m in METHODS if "nomp" not in m for snr in SNRS],
        "k_accuracy": [
            {"method": m, "snr_db": snr, "count": k} | right()
            for m in (*METHODS, "mdl")
            if m == "mdl" or Method.named(m).rule != "known"
            for snr in SNRS
            for k in ("all", 0, 1, 2)
        ],
        "covariances": [
            {"covariance": name, "snr_db": snr, "count": k} | quality()
            for name in ("R_pred", "R_blend", "R_samp")
            for snr, k in cells
            if k > 0
        ],
    }


def made_checkpoint(folder: Path, scenario: Scenario) -> Path:
    """An untrained network, as it is shipped."""
    extra: dict[str, object] = {
        "seed": 7,
        "score": 0.4321,
        "fit": {"batch_size": 64, "learning_rate": 3e-3, "ema_decay": 0.999},
        "train": {"epochs": 20},
        "order": {"scenes": 8192, "gospa_learnt": 0.1234, "gospa_bic": 0.2345, "gospa_known": 0.3456},
        "loss": {"lam_cov": 1.0, "lam_K": 2.5, "gap_margin": 0.6},
    }
    save_checkpoint(folder, network(scenario), extra)
    ship.stamp(folder, {"train": "1111111", "order": "2222222", "epoch_scenes": 12345, "order_held_back": 1024})
    return folder
