"""Run folders: where they are, what they hold, and `load_or_train`.

`<runs>/<preset>/<stage>-<task>-<name>-<hash8>/` holds config.json, log.csv, last/ (for resuming) and, once training has
ended, likeness.json (of the training heads) and model.safetensors (EMA weights). Weights shipped with the package have
the same layout.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.nn as nn
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ..data.layout import EMBEDDED, DataConfig
from ..data.likeness import FEWEST, Likeness
from ..data.prepared import PreparedData
from ..data.tasks import Task
from ..support.errors import InputError, MissingError
from ..support.files import alone_in, write_atomically
from ..support.places import default_runs
from ..support.progress import follow
from ..support.records import REMEDY, read_record
from ..support.seeds import mix_seed
from ..support.settings import ConfigError, shown, to_dict
from .config import RunConfig, load_config
from .loop import own_tensors, train
from .stages import STAGES

SHIPPED = Path(__file__).parents[1] / "weights"


def build(config: RunConfig, experts: Sequence[nn.Module] | None = None) -> nn.Module:
    """The model of a run with fresh weights; experts: the models of the runs that it builds on, None: fresh ones."""
    task = config.translation
    if experts is None:
        experts = [build(expert) for expert in config.experts]
    read_own_conditions(experts, config.experts, task)
    torch.manual_seed(own_seed(config))
    model = STAGES[config.stage].build(config, task, experts)
    model.of_residual = config.target == "residual"
    return model


def own_seed(config: RunConfig) -> int:
    """The seed of a run's weights and draws, which depends on its name: runs of other names draw other numbers."""
    return mix_seed(config.seed, config.name)


def read_own_conditions(models: Sequence[nn.Module], runs: Sequence[RunConfig], task: Task) -> None:
    """Tell experts that were trained for another task which condition channels of `task` they read.

    Raises `ConfigError` for one that denoises residuals: those of another task are others.
    """
    for model, run in zip(models, runs):
        if run.translation != task:
            if run.target == "residual":
                raise ConfigError(f"residuals of task '{run.task}' are none of '{task.name}': use images as target")
            model.reads = task.channels_of(run.translation)


def find(config: RunConfig, runs: Path) -> Path | None:
    """The folder with the finished weights of exactly this configuration, below `runs` or else shipped; or None."""
    folders = (root / config.folder for root in (Path(runs), SHIPPED))
    return next((folder for folder in folders if (folder / "model.safetensors").is_file()), None)


def weights_digest(config: RunConfig, runs: Path) -> str:
    """Eight hexadecimal digits of a hash over the weights of a finished run and of those that it builds on."""
    contents = [(find(config, runs) / "model.safetensors").read_bytes()]
    contents += [weights_digest(expert, runs).encode() for expert in config.experts]
    return hashlib.sha256(b"".join(contents)).hexdigest()[:8]


def load(config: RunConfig, runs: Path) -> nn.Module:
    """The trained model of a run, with the models that it builds on, ready for inference on the CPU.

    Raises `MissingError` where the weights are missing, `ConfigError` where they are corrupt or do not fit.
    """
    folder = find(config, runs)  # before anything is built: a wrong number in config.json could ask for any memory
    if folder is None:
        raise MissingError(f"{Path(runs) / config.folder}: no trained weights here; train this run first")
    model = _build_on_experts(config, runs)
    _load_weights(model, folder / "model.safetensors")
    return model.eval()


def _build_on_experts(config: RunConfig, runs: Path) -> nn.Module:
    """`build`, on trained experts."""
    return build(config, [load(expert, runs) for expert in config.experts])


def load_folder(folder: str | Path) -> tuple[nn.Module, RunConfig]:
    """The model in a run folder, and its configuration; its experts are beside it or among the shipped runs."""
    folder = Path(folder)
    config = load_config(folder / "config.json")
    return load(config, folder.resolve().parent.parent), config


def resolve(run: str) -> Path:
    """A run folder from its path, or from the beginning of an own or shipped run's name, such as `fusion-sr-ours`.

    The preset may stand before it: `scan/fusion-sr-ours`. A run that is both shipped and among the own ones is one run.
    Raises `MissingError` where none fits, `ConfigError` where several do.
    """
    if (Path(run) / "config.json").is_file():
        return Path(run)
    preset, _, begin = run.rpartition("/")
    finished = (folder for root in (default_runs(), SHIPPED) for folder in _finished(root))
    folders = [folder for folder in finished if preset in ("", folder.parent.name)]
    named = [folder for folder in folders if begin in (folder.name, folder.name.rpartition("-")[0])]  # but for the hash
    begun = [folder for folder in folders if folder.name.startswith(begin)]
    fitting = {folder.name: folder for folder in reversed(named or begun)}
    if len(fitting) > 1:
        listed = ", ".join(sorted(f"{folder.parent.name}/{folder.name}" for folder in fitting.values()))
        raise ConfigError(f"'{run}' fits several runs: {listed}; give one of these names, or a folder")
    if fitting:
        return fitting.popitem()[1]
    raise MissingError(f"{run}: neither a run folder nor the beginning of a trained run's name; see diffens runs")


def trained_runs(runs: Path) -> Iterator[tuple[Path, RunConfig]]:
    """Every finished run and its configuration: those below `runs`, then those that come with the package."""
    yield from _configured(_finished(Path(runs)))
    yield from shipped_runs()


def shipped_runs() -> Iterator[tuple[Path, RunConfig]]:
    """Every run that comes with the package, and its configuration."""
    return _configured(_finished(SHIPPED))


def shipped_data(preset: str, task: str) -> DataConfig | None:
    """The real data that the shipped runs of a preset and task were trained on; None where there are no such runs."""
    runs = (config for _, config in shipped_runs() if (config.preset, config.task) == (preset, task))
    return next((config.data for config in runs if config.data.name != EMBEDDED), None)


def _finished(root: Path) -> list[Path]:
    """The folders below `root` that hold trained weights."""
    return [path.parent for path in sorted(root.glob("*/*/model.safetensors"))]


def _configured(folders: Iterable[Path]) -> Iterator[tuple[Path, RunConfig]]:
    return ((folder, load_config(folder / "config.json")) for folder in folders)


def load_or_train(
    config: RunConfig, runs: Path, *, precision: str = "auto", accelerator: Accelerator | None = None
) -> nn.Module:
    """The trained model of `config`; missing runs are trained, experts first, and interrupted ones resumed.

    Two processes that ask for the same run do not train it twice: the second waits for the first. (The processes
    of one job on several GPUs train it together, without the lock.)
    """
    accelerator = accelerator or Accelerator()
    for expert in config.experts:
        load_or_train(expert, runs, precision=precision, accelerator=accelerator)
    if find(config, runs) is None:
        folder = Path(runs) / config.folder
        with alone_in(folder) if accelerator.num_processes == 1 else nullcontext():
            if find(config, runs) is None:
                _train(config, runs, folder, precision, accelerator)
    return load(config, runs)


def _train(config: RunConfig, runs: Path, folder: Path, precision: str, accelerator: Accelerator) -> None:
    write_atomically(folder / "config.json", json.dumps(to_dict(config), indent=2).encode())
    data = PreparedData(config.data, "train", config.translation).to(accelerator.device)
    model = _build_on_experts(config, runs)
    options = {"seed": own_seed(config), "precision": precision, "accelerator": accelerator}
    options["noise_steps"] = config.diffusion.steps
    kind = "" if config.name.startswith(config.stage) else f"{config.stage} "
    training = train(model, data, config.train, folder, **options)
    for _ in follow(training, f"training {kind}{config.name} ({config.task})", config.train.steps):
        pass
    if accelerator.is_main_process:
        save_likeness(folder, data)
        save_weights(folder, model, config)
    accelerator.wait_for_everyone()


def save_likeness(folder: Path, data: PreparedData) -> None:
    """Write what tells whether a head is like those of `data` to likeness.json, unless they are too few to tell."""
    if len(data) >= FEWEST:
        heads = (data.numbers_of(k) for k in range(len(data)))
        write_atomically(folder / "likeness.json", json.dumps(Likeness.of(heads).to_dict(), indent=2).encode())


def likeness(folder: Path) -> Likeness | None:
    """That of the heads that a run was trained on; None where its folder does not tell.

    Raises `ConfigError` for a damaged file.
    """
    path = folder / "likeness.json"
    if not path.is_file():
        return None
    try:
        return Likeness.from_dict(read_record(path))
    except InputError as error:
        raise ConfigError(f"{path}: {error}; {REMEDY}") from None


def save_weights(folder: Path, model: nn.Module, config: RunConfig) -> None:
    """Write the run's own tensors, without those of the runs that it builds on, to model.safetensors."""
    tensors = {n: v.detach().cpu().contiguous() for n, v in own_tensors(model).items()}
    write_atomically(folder / "model.safetensors", save(tensors, {"run": config.identity}))


def _load_weights(model: nn.Module, path: Path) -> None:
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ConfigError(
            f"{path}: corrupt weights ({shown(error)}); delete the file to restore it from last/"
        ) from None
    own = own_tensors(model)
    # A table of whole numbers, such as the segmenter's, may be stored in float16 (`ship.py`), weights as numbers only.
    alike = set(own) == set(tensors) and all(
        own[n].shape == tensors[n].shape and tensors[n].is_floating_point() >= own[n].is_floating_point() for n in own
    )
    if not alike:
        raise ConfigError(f"{path}: these weights are not of the network that config.json describes")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(tensors[name])
            if not torch.isfinite(parameter).all():
                raise ConfigError(f"{path}: weights that are NaN or infinite; delete the file to restore it from last/")
