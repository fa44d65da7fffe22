"""The stage report beside a small evaluation: `folder` holds evaluate/, and gets losses of overfit and train, and page/."""

from pathlib import Path

from pipeline.console_reporter import ConsoleReporter
from stages import report
from stages.support.writers import write_csv, write_text

EPOCHS = 3


def draw_page(folder: Path) -> ConsoleReporter:
    """Run the stage report on folder/evaluate, with losses that halve with each epoch."""
    losses = [_epoch(epoch) for epoch in range(1, EPOCHS + 1)]
    schedules = ("constant weights", "curriculum")
    write_csv(folder / "overfit" / "losses.csv", [{"schedule": name, **row} for name in schedules for row in losses])
    write_csv(folder / "train" / "losses.csv", losses)
    write_text(folder / "train" / "log.txt", "Epoch 1\n")
    (folder / "hpo").mkdir(exist_ok=True)
    reporter = ConsoleReporter()
    report.run(
        overfit_report=folder / "overfit",
        trials=folder / "hpo",
        train_report=folder / "train",
        evaluate_report=folder / "evaluate",
        page_folder=folder / "page",
        report=reporter,
    )
    return reporter


def _epoch(epoch: int) -> dict[str, float]:
    terms = {"nmse": 2.0**-epoch, "K": 0.5 * 2.0**-epoch, "gap": 0.0}
    return {"epoch": epoch} | {
        f"{split}/weighted_loss_{name}": v for split in ("train", "val") for name, v in terms.items()
    }
