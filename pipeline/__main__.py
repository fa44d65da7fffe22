"""`python -m pipeline STAGE` runs one stage; `preset NAME` writes a preset into params.yaml; `outbox` sends what waits;
`params-reference` prints docs/params.md; `dependencies` writes the lists of dvc.yaml from the code; `verify` compares
the metrics of a fresh run with the committed ones."""

import argparse
import sys
from pathlib import Path

from pipeline import signals, torchrun
from pipeline.dvc_process import TRANSIENT, mark_transient
from pipeline.env import COPY, SettingError, check_folder
from pipeline.layout import STAGES
from risloc.config import ParamError
from risloc.utils.yaml_reader import read_yaml


def main(arguments: list[str]) -> int:
    """Do what the command line says; the exit code. A wrong parameter is one line on stderr, not a traceback."""
    options = _parser().parse_args(arguments)
    signals.install()
    try:
        check_folder()
        if options.command == "preset":
            from pipeline.presets import write_preset

            print(write_preset(options.name, COPY / "params.yaml"))
        elif options.command == "outbox":
            return _deliver()
        elif options.command == "params-reference":
            from pipeline.reference import params_reference

            sys.stdout.write(params_reference(read_yaml(COPY / "params.yaml")))
        elif options.command == "dependencies":
            from pipeline.dependencies import write_dependencies

            changed = write_dependencies(COPY)
            print(f"dvc.yaml: rewrote {', '.join(changed)}" if changed else "dvc.yaml: already up to date")
        elif options.command == "verify":
            return _verify(options.revision)
        else:
            return _run(arguments, options.command, options.into, options.preset, options.set)
    except SettingError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except ParamError as error:
        sys.stderr.write(f"{_source(options)}: {error}\n")
        return 1
    return 0


def _source(options: argparse.Namespace) -> str:
    """Where the parameters come from."""
    given = [f"--{name}" for name in ("preset", "set") if vars(options).get(name)]
    return f"params.yaml with {' and '.join(given)}" if given else "params.yaml"


def _run(arguments: list[str], stage: str, into: Path | None, named: str | None, changes: list[str]) -> int:
    from pipeline.changes import parse_change
    from pipeline.runner_setting import runner_setting
    from pipeline.sections import override, typed_sections, with_preset

    runner_setting()
    if not (COPY / "params.yaml").is_file():
        raise ParamError(f"not found in {COPY}; `git restore params.yaml` restores it")
    params = read_yaml(COPY / "params.yaml")
    params = override(params if named is None else with_preset(params, named), dict(map(parse_change, changes)))
    typed = typed_sections(
        stage, params
    )  # a wrong parameter shows before the seconds that prefect and mlflow take to load
    count = torchrun.processes(stage)
    if count > 1:
        return torchrun.launch(count, arguments)
    code, informed = 0, True
    with torchrun.joined():
        if torchrun.rank() > 0:
            torchrun.follow(stage, typed, into)
            return 0
        from pipeline.flows import PrefectAwayError, StageError, TransientStageError, run_stage

        try:
            informed = run_stage(stage, params, typed, into)
        except StageError as error:
            sys.stderr.write(f"{error}\n")
            code, informed = 1, not isinstance(error, PrefectAwayError)
            if isinstance(error, TransientStageError):
                mark_transient()
                code = TRANSIENT
    if not informed:  # at the exit, Prefect would try for 7 s with each event of each task to reach the missing server
        signals.leave(code)
    return code


def _verify(revision: str) -> int:
    from pipeline.verify import VerifyError, verify

    try:
        lines, good = verify(revision, COPY)
    except VerifyError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    print("\n".join(lines))
    return 0 if good else 1


def _deliver() -> int:
    from pipeline.tracking.answering import ServerAwayError
    from pipeline.tracking.outbox import deliver_all
    from pipeline.tracking.server import reach

    try:
        left = deliver_all(reach(), print)
    except ServerAwayError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    print(f"{left} reports are still waiting for MLflow" if left else "no reports are waiting for MLflow")
    return 1 if left else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="STAGE")
    for stage in STAGES:
        command = commands.add_parser(stage, help=f"run the stage {stage} (dvc repro runs it when it is due)")
        command.add_argument("--into", type=Path, help="folder for the results, from which existing inputs are read")
        command.add_argument("--preset", metavar="NAME", help="use the scenario of this preset, before any --set")
        command.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="section.key=value",
            help="change a parameter, as `dvc exp run -S` does",
        )
    command = commands.add_parser("preset", help="write the values of a preset into params.yaml")
    command.add_argument("name")
    commands.add_parser("outbox", help="send the reports that an outage has delayed to MLflow")
    command = commands.add_parser("verify", help="compare the metrics of this run with those of a commit")
    command.add_argument("revision", nargs="?", default="HEAD", help="the commit to compare with (default: HEAD)")
    commands.add_parser("params-reference", help="print the reference of params.yaml, which is docs/params.md")
    commands.add_parser("dependencies", help="update params, deps and outs of each stage in dvc.yaml from the code")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
