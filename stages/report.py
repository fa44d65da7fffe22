"""Draw the results: one page with every table and figure, and the figures as files, from what the stages before wrote.

Nothing is computed here, so a word or a colour costs seconds and makes no other stage due.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stages.evaluation.facts import Facts
from stages.evaluation.method import chosen
from stages.evaluation.one_scene import read_scene
from stages.evaluation.tables import Row, number
from stages.support.readers import read_rows
from stages.support.reporter import Reporter
from stages.support.writers import write_text

if TYPE_CHECKING:
    from stages.reporting.drawing import Subject

__all__ = ["run"]

LINKS = {
    "evaluate/tables.json": "every table of this page as JSON",
    "evaluate/curves": "curves by SNR as CSV, which dvc plots shows",
    "overfit/losses.csv": "overfit: the losses",
    "hpo": "hpo: the trials of the tuning",
    "train/losses.csv": "train: every loss term and weight of every epoch",
    "train/log.txt": "train: the log",
}
"""Files of the stages before, from the folder of the reports, and what they are."""


@dataclass(frozen=True, kw_only=True)
class _Evaluation:
    """What the stage evaluate wrote."""

    subject: "Subject"
    confidence: float
    facts: Facts


def run(
    *,
    overfit_report: Path,
    trials: Path,
    train_report: Path,
    evaluate_report: Path,
    page_folder: Path,
    report: Reporter,
) -> None:
    """Draw the results of overfit, hpo, train and evaluate.

    Into `page_folder`: the figures as PNG and PDF, and page.html, which holds tables and figures and needs no other file.

    Raises
    ------
    FileNotFoundError
        A stage before has not written its tables.
    """
    from stages.reporting.drawing import save  # Matplotlib, which the other stages need not load
    from stages.reporting.figures import draw
    from stages.reporting.loss_figures import draw_losses
    from stages.reporting.page import page
    from stages.reporting.scene_figures import draw_scene

    del trials  # a dependency only: the page links it
    evaluation = _read(evaluate_report)
    page_folder.mkdir(parents=True, exist_ok=True)
    losses = draw_losses(*(read_rows(folder / "losses.csv") for folder in (overfit_report, train_report)))
    scene = draw_scene(read_scene(evaluate_report / "scene.npz"))
    figures = save(draw(evaluation.subject) | scene | losses, page_folder)
    text = page(evaluation.subject, figures, evaluation.facts, evaluation.confidence, _links(page_folder.parent))
    write_text(page_folder / "page.html", text)
    report.artifact(page_folder)
    for line in headline(evaluation.subject):
        report.line(line)


def headline(subject: "Subject") -> list[str]:
    """Return the lines of the headline table: median position error [m] by SNR, K by the first rule."""
    rows = subject.tables["by_snr"]
    bounds = {number(row, "snr_db"): number(row, "root_crb_median_m") for row in rows}
    error = {(row["method"], number(row, "snr_db")): number(row, "position_error_median_m") for row in rows}
    snrs = sorted(bounds)
    names = [m.name for m in chosen([str(row["method"]) for row in rows], rule=subject.rules[0], ablations=True)]
    return [
        "median position error [m] by SNR [dB]: " + " ".join(f"{snr:8g}" for snr in snrs),
        f"{'root-CRB':>37s}: " + " ".join(f"{bounds[snr]:8.3g}" for snr in snrs),
        *(f"{name:>37s}: " + " ".join(f"{error[name, snr]:8.3g}" for snr in snrs) for name in names),
    ]


def _read(folder: Path) -> _Evaluation:
    from stages.reporting.drawing import Subject

    stored = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    files = {name: folder / f"{name}.csv" for name in stored["tables"]}
    tables: dict[str, list[Row]] = {name: read_rows(file) if file.exists() else [] for name, file in files.items()}
    subject = Subject(tables, tuple(stored["k_rules"]), stored["gospa_cutoff"])
    return _Evaluation(subject=subject, confidence=stored["confidence"], facts=stored["facts"])


def _links(reports: Path) -> dict[str, str]:
    """What the page links, from its own folder: the files of the stages before that lie beside it."""
    return {f"../{link}": words for link, words in LINKS.items() if (reports / link).exists()}
