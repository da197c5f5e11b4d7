"""`diffens`: translate files, evaluate and train methods, prepare data, and list what there is."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from . import __version__
from .data.preparation import SOURCES, preparation
from .data.tasks import Task, translation_named
from .diffusion.sampler import sampler_named, timesteps
from .experiment.presets import mirrors, preset_named
from .networks.precision import PRECISIONS
from .support.device import use_device
from .support.errors import DiffensError
from .support.files import check_writable
from .support.settings import ConfigError, at_least
from .training.config import load_config
from .translate import GRIDS, translate_files

if TYPE_CHECKING:
    from .experiment.experiment import Experiment

SAMPLER = "ddim, ddim:ETA with fresh noise, ancestral, or dpm++"
RUNS = "folder of all runs (default: DIFFENS_RUNS, or runs/ in DIFFENS_HOME, in the checkout or here)"


def main(argv: list[str] | None = None) -> int:
    """The command line; for input that cannot be used it prints one line and returns 2."""
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
    args = _parser().parse_args(argv)
    try:
        use_device(args.device)
        return args.run_command(args) or 0
    except (DiffensError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="diffens", description=__doc__)
    parser.add_argument("--version", action="version", version=f"diffens {__version__}")
    parser.set_defaults(device="auto")
    commands = parser.add_subparsers(dest="command", required=True)
    translate = commands.add_parser("translate", help="translate NIfTI files with a trained run")
    translate.set_defaults(run_command=_translate)
    text = "run folder, or a run's name: demo/fusion-mt-ours (default: of those that come with the package, what fits)"
    translate.add_argument("--run", help=text)
    translate.add_argument("--lr", type=Path, help="degraded target, on the fine grid or a coarse one; or a folder")
    translate.add_argument("--t1ce", type=Path, help="T1ce in the same space; or a folder of files of the same names")
    text = "another contrast in the same space, such as t1=FILE; or a folder; may be repeated"
    translate.add_argument("--input", action="append", default=[], type=_named_path, metavar="NAME=FILE", help=text)
    translate.add_argument("--table", type=Path, help="many subjects: columns participant_id, lr, t1ce (...), mask")
    translate.add_argument("--bids", type=Path, help="many subjects: a BIDS data set")
    translate.add_argument("--out", type=Path, required=True, help="volume to write (.nii or .nii.gz); or a folder")
    translate.add_argument("--jobs", type=int, default=1, help="of many subjects, how many at a time")
    translate.add_argument("--mask", type=Path, help="volume that is not 0 where the brain is")
    translate.add_argument(
        "--grid",
        default="auto",
        choices=GRIDS,
        help="of --lr: fine (coarse voxels repeated), coarse (its voxels are the measurement); auto looks for blocks",
    )
    text = "samples to draw, whose mean is --out (default: 1; of preset scan 2, of the head and of its mirror image)"
    translate.add_argument("--samples", type=int, help=text)
    translate.add_argument("--std", type=Path, help="standard deviation over the samples, as NIfTI")
    translate.add_argument("--steps", type=int, help="of sampling (default: the preset's)")
    translate.add_argument("--sampler", default="ddim", help=SAMPLER)
    translate.add_argument("--seed", type=int, default=0)
    translate.add_argument("--slices", type=int, default=0, help="slices per 2D pass (default: what fits the device)")
    translate.add_argument("--overwrite", action="store_true", help="replace existing output")
    _device_option(translate)
    _precision_option(translate)
    check = commands.add_parser("check", help="say what translate would make of files: grid, values, blocks, runs")
    check.set_defaults(run_command=_check)
    check.add_argument("files", type=Path, nargs="+", metavar="FILE")
    check.add_argument("--runs", type=Path, help=RUNS)
    evaluate = commands.add_parser("evaluate", help="train a method where it is not trained yet, and score it")
    evaluate.set_defaults(run_command=_evaluate)
    evaluate.add_argument("method", help="a name that diffens methods lists; or truth, an upper bound")
    text = "sr, mt, both, or what is made from what, such as 't1->t2' or 'flair_lr+t1->flair@1x1x5'"
    evaluate.add_argument("--task", default="sr", help=text)
    evaluate.add_argument("--preset", default="demo", help="smoke, demo, scan, gpu or paper")
    evaluate.add_argument("--seed", type=int, default=0, help="of training and sampling")
    evaluate.add_argument("--data", default="", help="a prepared data set (default: embedded phantoms)")
    text = "a second prepared data set, to translate instead; without --data, by weights that come with the package"
    evaluate.add_argument("--on", dest="second", default="", help=text)
    evaluate.add_argument("--split", default="test", help="whose subjects to translate")
    evaluate.add_argument("--subjects", type=int, default=0, help="how many of them (default: all)")
    evaluate.add_argument("--samples", type=int, default=1, help="samples of each subject")
    evaluate.add_argument("--steps", type=int, default=0, help="of sampling (default: the preset's)")
    evaluate.add_argument("--sampler", default="", help=f"{SAMPLER} (default: the preset's)")
    evaluate.add_argument("--segmenter", default="", help="Dice: own (trained here), or a SwinUNETR file of BraTS 2021")
    evaluate.add_argument("--medicalnet", default="", help="FID: the file resnet_50_23dataset.pth, or download")
    evaluate.add_argument("--runs", default="", help=RUNS)
    evaluate.add_argument("--out", type=Path, help="folder for metrics.csv and cost.json")
    _device_option(evaluate)
    train = commands.add_parser("train", help="train a run from its config.json, or go on with it")
    train.set_defaults(run_command=_train)
    train.add_argument("config", type=Path)
    train.add_argument("--runs", type=Path, help=RUNS)
    _device_option(train)
    _precision_option(train)
    prepare = commands.add_parser("prepare", help="bring NIfTI files into the prepared layout")
    prepare.set_defaults(run_command=_prepare)
    prepare.add_argument("source", choices=SOURCES, help="what the files are")
    prepare.add_argument("arguments", nargs=argparse.REMAINDER, help="see diffens prepare SOURCE --help")
    register = commands.add_parser("register", help="bring a volume onto the grid of another of the same head")
    register.set_defaults(run_command=_register)
    register.add_argument("fixed", type=Path, help="volume that stays where it is")
    register.add_argument("moving", type=Path, help="volume of another contrast or day, anywhere in space")
    register.add_argument("--out", type=Path, required=True, help="MOVING on the grid of FIXED (.nii or .nii.gz)")
    register.add_argument("--mask", type=Path, help="volume on the grid of MOVING that goes with it, such as its brain")
    register.add_argument("--mask-out", type=Path, help="that volume on the grid of FIXED")
    register.add_argument("--overwrite", action="store_true", help="replace existing output")
    methods = commands.add_parser("methods", help="list the methods, what they are and which tasks they do")
    methods.set_defaults(run_command=_methods)
    methods.add_argument("--preset", help="list instead every setting in which this preset differs from another")
    methods.add_argument("--against", help="that other preset (default: demo)")
    runs = commands.add_parser("runs", help="list the trained runs, your own and those that come with the package")
    runs.set_defaults(run_command=_runs)
    runs.add_argument("--runs", type=Path, help=RUNS)
    return parser


def _named_path(text: str) -> tuple[str, Path]:
    """`t1=FILE` as a name and a path."""
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"write NAME=FILE, such as t1=t1.nii.gz, not {text}")
    return name, Path(path)


def _device_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")


def _precision_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--precision", default="auto", choices=PRECISIONS)


def _translate(args: argparse.Namespace) -> int:
    """One subject, or many; returns 1 where some of many could not be translated."""
    from .training.runs import likeness, load_config, resolve

    _check_sampling(args)
    inputs = {name: path for name, path in (("lr", args.lr), ("t1ce", args.t1ce), *args.input) if path is not None}
    many = args.table or args.bids or any(path.is_dir() for path in inputs.values())
    _check_many(args, inputs) if many else _check_files([p for p in (args.out, args.std) if p], args.overwrite)
    run = resolve(args.run) if args.run else _fitting(args, inputs)
    print(f"run {run}", flush=True)
    config = load_config(run / "config.json")
    task = config.translation
    if args.steps is None:
        args.steps = preset_named(config.preset).steps
    if args.samples is None:
        args.samples = preset_named(config.preset).samples if mirrors(config.preset) else 1
    if args.std:
        at_least("--samples of --std", args.samples, 2)
    timesteps(config.diffusion.schedule, args.steps)  # raises for a number that the run does not have
    inputs = {task.given_as.get(name, name): path for name, path in inputs.items()}
    unused = set(inputs) - set(task.inputs)
    if unused:
        raise ConfigError(f"run {run.name} does task '{task.name}', which does not use {', '.join(sorted(unused))}")
    options = {name: getattr(args, name) for name in ("samples", "steps", "sampler", "seed", "precision", "grid")}
    options["likeness"] = likeness(run)
    return _translate_many(args, run, task, inputs, options) if many else _translate_one(args, run, inputs, options)


def _fitting(args: argparse.Namespace, inputs: dict[str, Path]) -> Path:
    """The shipped run for the files; for those of the first subject, where folders hold many."""
    from .batch import cases_in_folders
    from .choice import run_for

    if args.table or args.bids:
        raise ConfigError("--table and --bids need a --run; see diffens runs")
    if any(path.is_dir() for path in inputs.values()):
        inputs = cases_in_folders(inputs, args.out)[0].inputs
    return run_for(inputs, args.grid)


def _translate_one(args: argparse.Namespace, run: Path, inputs: dict[str, Path], options: dict) -> int:
    from .batch import loaded

    model, config = loaded(run, args.slices)
    options |= {"mask": args.mask, "std": args.std, "overwrite": args.overwrite}
    translate_files(model, config, inputs, args.out, **options)
    print(f"wrote {args.out}" + (f" and {args.std}" if args.std else ""))
    return 0


def _translate_many(args: argparse.Namespace, run: Path, task: Task, inputs: dict[str, Path], options: dict) -> int:
    from .batch import cases_in_bids, cases_in_folders, cases_in_table, translate_cases

    if args.table:
        cases = cases_in_table(args.table, task, args.out)
    else:
        cases = cases_in_bids(args.bids, task, args.out) if args.bids else cases_in_folders(inputs, args.out)
    more = {"jobs": args.jobs, "overwrite": args.overwrite, "slices": args.slices}
    table = translate_cases(cases, run, args.out, **more, **options)
    failed = int(table["status"].str.startswith("failed").sum())
    print(f"{len(table) - failed} of {len(table)} subjects are there; wrote {args.out / 'summary.tsv'}")
    return int(failed > 0)


def _check_many(args: argparse.Namespace, inputs: dict[str, Path]) -> None:
    """Refuse options that do not go with many subjects: raises `ConfigError`."""
    if sum(map(bool, (args.table, args.bids, inputs))) > 1:
        raise ConfigError("--table, --bids, and folders as --lr, --t1ce or --input exclude one another")
    if not all(path.is_dir() for path in inputs.values()):
        raise ConfigError("--lr, --t1ce and --input are all files or all folders")
    if args.std or args.mask:
        raise ConfigError("--std and --mask are for one subject; a table has a column mask")
    if args.out.name.endswith((".nii", ".nii.gz")) or args.out.is_file():
        raise ConfigError(f"{args.out}: of many subjects, the output is a folder")


def _check_sampling(args: argparse.Namespace) -> None:
    """Refuse numbers and names that no run can be sampled with: raises `ConfigError`."""
    sampler_named(args.sampler)
    if args.samples is not None:
        at_least("--samples", args.samples, 1)
    at_least("--jobs", args.jobs, 1)
    at_least("--slices", args.slices, 0)


def _check_files(outputs: list[Path], overwrite: bool) -> None:
    """Refuse NIfTI files that could not be written in the end: raises `ConfigError` or `DiffensError`.

    Where some of several are there already, a call was stopped between them: they stay, and the others are made.
    """
    for path in outputs:
        if not path.name.endswith((".nii", ".nii.gz")):
            raise ConfigError(f"{path}: name the output .nii or .nii.gz")
    there = [] if overwrite else [path for path in outputs if path.exists()]
    if there == outputs:
        raise DiffensError(f"{there[0]} exists; give --overwrite to replace it")
    if len(set(outputs)) < len(outputs):
        raise ConfigError(f"{outputs[0]}: two outputs name the same file")
    for path in outputs:
        check_writable(path.parent)
    for path in there:
        print(f"{path} exists and stays, if it is what this call would write", file=sys.stderr)


def _check(args: argparse.Namespace) -> None:
    from .check import check_file
    from .support.places import default_runs

    refused = []
    for path in args.files:
        try:
            lines = list(check_file(path, args.runs or default_runs()))
        except DiffensError as error:
            refused.append(str(error))
            continue
        print(path, *(f"  {name:18} {text}" for name, text in lines), sep="\n")
    if refused:
        raise DiffensError("; ".join(refused))


def _check_trained(args: argparse.Namespace, experiment: Experiment) -> None:
    """Refuse what would be trained on data that only who made the shipped weights has: raises `ConfigError`."""
    from .evaluation.evaluate import TRUTH

    runs = [] if args.method == TRUTH else experiment.runs_of(args.method, args.task)
    missing = not experiment.is_trained(runs)
    if missing or args.segmenter == "own":
        what = f"method '{args.method}'" if missing else "a segmenter"
        raise ConfigError(
            f"{what} of preset {args.preset}, seed {args.seed}, for {args.task} does not come with the package: give "
            "--data, what to train it on"
        )


def _evaluate(args: argparse.Namespace) -> None:
    from .evaluation.distributions import too_few
    from .evaluation.evaluate import TRUTH, evaluate, evaluation_name
    from .evaluation.judges import check_judges, open_judges
    from .evaluation.scores import summary
    from .experiment.experiment import open_experiment
    from .experiment.methods import method_named, takes_sampler
    from .training.runs import shipped_data

    args.task = translation_named(args.task).name
    if args.method != TRUTH:
        method_named(args.method, args.task)
    elif not args.segmenter:
        raise ConfigError("truth is measured by segmentation alone: give --segmenter")
    check_judges(args.task, args.segmenter, args.medicalnet)
    if args.samples < 1 or args.subjects < 0 or args.steps < 0:
        raise ConfigError("--samples must be at least 1, --subjects and --steps at least 0")
    options = {"second": args.second, "steps": args.steps, "sampler": args.sampler}
    shipped = shipped_data(args.preset, args.task) if args.second and not args.data else None
    experiment = open_experiment(args.preset, args.seed, shipped or args.data, args.runs, **options)
    if shipped:
        _check_trained(args, experiment)
        print(f"by weights that come with the package, trained on '{shipped.name}'", flush=True)
    out = args.out or experiment.out / evaluation_name(
        args.method, args.task, args.seed, args.steps, args.split, args.sampler
    )
    other = args.method != TRUTH and args.sampler not in ("", "ddim")
    if other and not takes_sampler(args.method, experiment.setting(args.task)):
        raise ConfigError(f"--sampler {args.sampler}: method {args.method} samples in its own way")
    check_writable(out)
    there = len(experiment.subjects(args.split, args.task))
    if there < args.subjects:
        print(f"warning: '{args.split}' has {there} subjects, not {args.subjects}", file=sys.stderr)
    options = {"split": args.split, "subjects": args.subjects, "samples": args.samples, "out": out}
    options["judges"] = open_judges(experiment, args.task, args.segmenter, args.medicalnet, sets=args.method != TRUTH)
    metrics, cost = evaluate(experiment, args.method, args.task, **options)
    if args.method != TRUTH and (few := too_few(cost["subjects"])):
        print(f"warning: {few}", file=sys.stderr)
    labelled = metrics.loc[metrics["metric"] == "dice_wt", "subject"].nunique()
    if args.segmenter and labelled < cost["subjects"]:
        print(f"warning: {labelled} of {cost['subjects']} subjects have labels, Dice is of these", file=sys.stderr)
    print(summary(metrics).to_string(float_format="{:.4g}".format))
    shown = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in cost.items()}
    print(", ".join(f"{key} {value}" for key, value in shown.items()))
    print(f"wrote {out / 'metrics.csv'} and cost.json")


def _train(args: argparse.Namespace) -> None:
    from .support.places import default_runs
    from .training.runs import load_or_train

    config = load_config(args.config)
    runs = args.runs or default_runs()
    load_or_train(config, runs, precision=args.precision)
    print(f"trained {Path(runs) / config.folder}")


def _prepare(args: argparse.Namespace) -> None:
    if status := preparation(args.source).main(args.arguments):
        sys.exit(status)


def _register(args: argparse.Namespace) -> None:
    from .data.registration import register_files

    if bool(args.mask) != bool(args.mask_out):
        raise ConfigError("--mask and --mask-out go together")
    outputs = [path for path in (args.out, args.mask_out) if path]
    _check_files(outputs, args.overwrite)
    turned, shifted = register_files(args.fixed, args.moving, args.out, args.mask, args.mask_out, args.overwrite)
    print(
        f"turned by {turned:.2f} degrees, centre shifted by {shifted:.2f} mm; wrote {' and '.join(map(str, outputs))}"
    )


def _methods(args: argparse.Namespace) -> None:
    from .experiment.differences import differences
    from .experiment.methods import ABLATIONS, METHODS

    if args.against and not args.preset:
        raise ConfigError("--against goes with --preset")
    if args.preset:
        other = args.against or "demo"
        found = differences(preset_named(args.preset), preset_named(other))
        print(f"{'setting':40} {args.preset}, instead of {other}'s")
        for name, (ours, theirs) in found.items():
            print(f"{name:40} {ours}, instead of {theirs}")
        return
    for name, method in (METHODS | ABLATIONS).items():
        print(f"{name:55} {' '.join(method.tasks):11} {method.summary}")


def _runs(args: argparse.Namespace) -> None:
    from .support.places import default_runs
    from .training.runs import trained_runs

    for folder, config in trained_runs(args.runs or default_runs()):
        print(f"{folder.name:44} {config.preset:6} {config.task:5} {config.data.spacing:g} mm  {folder}")


if __name__ == "__main__":
    sys.exit(main())
