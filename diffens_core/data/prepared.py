"""Prepared data at the resolution of a preset: pairs of target and conditions, and random crops of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from nibabel.affines import voxel_sizes

from ..support.seeds import mix_seed
from .conditions import conditions_of, degraded, scaled
from .crops import Cropping, Crops, crop_of, translated
from .intensity import varied
from .layout import TOLERANCE, DataConfig, read_participants
from .likeness import numbers_of
from .measurement import BLOCKS, Degradation
from .planes import coordinates
from .tasks import FLAIR, LABELS, Task
from .volumes import Scale, Volume, VolumeError, Window, center_of, fit_scale, full_scale, load_volume

LABEL_VALUES = (0, 1, 2, 4)  # of BraTS: none, necrotic core, oedema, enhancing


@dataclass(frozen=True)
class Pair:
    """The target and conditions of one subject. x0: [1, X, Y, Z], or the labels of a tumour; y: [C, X, Y, Z]; brain:
    bool [X, Y, Z]; affine: [4, 4], millimetres. All lie in [-1, 1], but for a small overshoot of the interpolation;
    background is -1."""

    subject: str
    x0: torch.Tensor
    y: torch.Tensor
    brain: torch.Tensor
    affine: np.ndarray
    scale: Scale

    @property
    def seen(self) -> np.ndarray:
        """bool [X, Y, Z]: not background in the first condition; elsewhere translations are background too."""
        return (self.y[0] != -1.0).numpy()


def coarsen(data: np.ndarray, factor: int) -> np.ndarray:
    """Block means of [X, Y, Z] by a whole `factor`; a border that does not fill a block is averaged as it is."""
    tensor = torch.from_numpy(np.ascontiguousarray(data, dtype=np.float32))[None, None]
    return tensor[0, 0].numpy() if factor == 1 else Degradation((factor,) * 3).measure(tensor, 0.0)[0, 0].numpy()


def coarsen_labels(labels: np.ndarray, factor: int) -> np.ndarray:
    """The most frequent label of each block of `factor`^3 voxels; labels: [X, Y, Z], returned as uint8."""
    values = np.unique(labels)
    shares = np.stack([coarsen((labels == value).astype(np.float32), factor) for value in values])
    return values[shares.argmax(0)].astype(np.uint8)


def scaled_pair(images: Mapping[str, np.ndarray], task: Task) -> tuple[torch.Tensor, torch.Tensor, Scale]:
    """Target and conditions from the images [X, Y, Z] of a task in their own unit, background 0.

    images: of the target (of a segmentation: the FLAIR) and of the task's contrasts. Returns x0 [1, X, Y, Z],
    y [C, X, Y, Z] and the scale of the target. It is fitted on a measurement of the target for every task, so that
    experts of different tasks have the same target and can be fused. Voxels that are too bright for the scale are cut
    first: the truth, here, is what can be translated to, and it is this that is measured.
    """
    target, degradation = FLAIR if task.target == LABELS else task.target, task.degradation or BLOCKS
    known = degraded(images[target], degradation)
    truth = np.minimum(images[target], fit_scale(known, known != 0).high)
    known = degraded(truth, degradation)
    if task.degradation:
        y, scale = conditions_of({**images, task.inputs[0]: known}, task)
    else:
        y, scale = conditions_of(images, task)[0], fit_scale(known, known != 0)
    x0 = scaled(truth, scale, clip=False)
    if task.target == LABELS:
        y[:1] = x0  # a translation that is judged has this scale, too
    return x0, y, scale


def pair_scaled_by_target(images: Mapping[str, np.ndarray], task: Task) -> tuple[torch.Tensor, torch.Tensor, Scale]:
    """As `scaled_pair`, on the scales of the paper's released code: each image's own range, a measurement's target's.

    The conditions then tell the maximum of the target, which nobody has who wants to translate.
    """
    target, images = FLAIR if task.target == LABELS else task.target, dict(images)
    scales = {name: full_scale(image) for name, image in images.items()}
    if task.degradation:
        images[task.inputs[0]] = degraded(images[target], task.degradation)
        scales[task.inputs[0]] = scales[target]
    x0 = scaled(images[target], scales[target])
    return x0, conditions_of(images, task, scales)[0], scales[target]


class PreparedData:
    """The subjects of one split, read when first asked for and, with `keep`, then kept in memory, or on a GPU (`to`).

    A segmentation has the subjects that have labels and all its contrasts. Raises `VolumeError` where the split is
    empty, a subject or a file of it is not there, or the spacing does not fit.
    """

    def __init__(self, config: DataConfig, split: str, task: Task, keep: bool = True):
        self.config, self.task, self.root, self.keep = config, task, config.folder, keep
        table = read_participants(self.root)
        self.subjects = sorted(table.loc[table["split"] == split, "participant_id"])
        if not self.subjects:
            raise VolumeError(f"{self.root}: no participant has the split '{split}'")
        missing = [s for s in self.subjects if not (self.root / s).is_dir()]
        if missing:
            raise VolumeError(
                f"{self.root}: {len(missing)} of {len(self.subjects)} '{split}' subjects are not there yet "
                f"({missing[0]}, ...); run data_prep again to finish them"
            )
        if task.target != LABELS:
            self._check_files()
        else:
            self.subjects = [s for s in self.subjects if self._has_all(s, (LABELS, *task.inputs))]
            if not self.subjects:
                raise VolumeError(f"{self.root}: no '{split}' subject has labels and {', '.join(task.inputs)}")
        self._pairs: dict[str, Pair] = {}
        self._moved: tuple[int, dict[int, Pair]] = (-1, {})
        self._grid: torch.Tensor | None = None
        self.device = torch.device("cpu")

    def to(self, device: torch.device) -> PreparedData:
        """Keep the pairs on a GPU, where moving and cropping them takes no time, if a third of its memory holds them.

        A pair's `x0` and `y` are there then.
        """
        values = math.prod(self.config.shape) * (1 + len(self.task.conditions))
        needed = 4 * values * 2 * len(self)  # as they are, and as they were moved last
        if device.type == "cuda" and needed < torch.cuda.mem_get_info(device)[0] / 3:
            self.device = device
        return self

    def _check_files(self) -> None:
        """Raise `VolumeError` that names every subject without all files of the task, before anything runs."""
        names = ("brain", self.task.target, *self.task.contrasts)
        absent = [f"{s}/{name}.nii.gz" for s in self.subjects for name in names if not self._has_all(s, [name])]
        if absent:
            raise VolumeError(
                f"{self.root}: {', '.join(absent)}: no such file, and task '{self.task.name}' reads it; prepare these "
                "subjects again, or take them off participants.tsv"
            )

    def __len__(self) -> int:
        return len(self.subjects)

    def numbers_of(self, index: int) -> dict[str, float]:
        """The numbers that describe a head's conditions, see `likeness.py`."""
        pair = self[index]
        return numbers_of(pair.y.cpu(), voxel_sizes(pair.affine), self.task.conditions)

    def __getitem__(self, index: int) -> Pair:
        subject = self.subjects[index]
        if subject in self._pairs:
            return self._pairs[subject]
        pair = self._read(subject)
        pair = replace(pair, x0=pair.x0.to(self.device), y=pair.y.to(self.device))
        if self.keep:
            self._pairs[subject] = pair
        return pair

    def first(self, subjects: int) -> range:
        """The indices of the first `subjects` subjects, or of all for 0."""
        return range(min(subjects or len(self), len(self)))

    @property
    def labelled(self) -> bool:
        """Whether any subject has labels of a tumour."""
        return any(self._has_all(subject, (LABELS,)) for subject in self.subjects)

    def pair(self, subject: str) -> Pair:
        """One subject by name; raises `VolumeError` where the split does not have it."""
        if subject not in self.subjects:
            raise VolumeError(f"{self.root}: no {subject} with all files of task '{self.task.name}'")
        return self[self.subjects.index(subject)]

    def _has_all(self, subject: str, names) -> bool:
        return all((self.root / subject / f"{name}.nii.gz").is_file() for name in names)

    def labels(self, subject: str) -> torch.Tensor | None:
        """Labels of the tumour, uint8 [X, Y, Z] on the grid of the subject's pair; None for a subject without.

        Raises `VolumeError` for other values than `LABEL_VALUES`.
        """
        if not self._has_all(subject, (LABELS,)):
            return None
        brain = self._load(subject, "brain")
        labels = self._load(subject, LABELS, brain).data
        wrong = sorted(set(np.unique(labels)) - set(LABEL_VALUES))
        if wrong:
            path = self.root / subject / f"{LABELS}.nii.gz"
            raise VolumeError(f"{path}: labels are 0, 1, 2 and 4, not {wrong[0]:g}; prepare this subject again")
        factor = coarsening(brain.spacing, self.config.spacing, self.root / subject)
        return torch.from_numpy(self._window(subject, brain, factor)[0].crop(coarsen_labels(labels, factor)))

    def _load(self, subject: str, name: str, like: Volume | None = None) -> Volume:
        """Read one file of a subject; like: its brain mask, on whose grid all of its files must lie."""
        path = self.root / subject / f"{name}.nii.gz"
        volume = load_volume(path)
        if like and not volume.grid.same_as(like.grid):
            raise VolumeError(f"{path}: not on the grid of brain.nii.gz beside it; prepare this subject again")
        return volume

    def _window(self, subject: str, brain: Volume, factor: int) -> tuple[Window, np.ndarray]:
        """The window around the brain, and the brain, on a grid `factor` times coarser than that of the files."""
        mask = coarsen(brain.data, factor) > 0.5
        if not mask.any():
            raise VolumeError(f"{self.root / subject / 'brain.nii.gz'}: empty; prepare this subject again")
        return Window.centered(center_of(mask), self.config.shape), mask

    def _read(self, subject: str) -> Pair:
        brain = self._load(subject, "brain")
        factor = coarsening(brain.spacing, self.config.spacing, self.root / subject)
        window, mask = self._window(subject, brain, factor)
        names = sorted({self.task.target, *self.task.contrasts} - {LABELS})
        images = {name: window.crop(coarsen(self._load(subject, name, brain).data, factor)) for name in names}
        try:
            make = pair_scaled_by_target if self.config.normalisation == "target" else scaled_pair
            x0, y, scale = make(images, self.task)
        except VolumeError as error:
            raise VolumeError(f"{self.root / subject}: {error}") from None
        if self.task.target == LABELS:
            x0 = self.labels(subject)[None].float()
        affine = window.affine(coarse_affine(brain.affine, factor))
        return Pair(subject, x0, y, torch.from_numpy(window.crop(mask)), affine, scale)

    def moved(self, index: int, draw: torch.Generator, vary: float = 0.0) -> Pair:
        """A subject moved at random by less than a block along each axis, and measured anew.

        It is chance where in a head a scanner's blocks begin: each such move gives another measurement to learn from.
        Content that leaves the window at one side is lost; background enters at the other. vary: how much the
        brightness of each contrast is changed first, see `varied`.
        """
        pair, degradation = self[index], self.task.degradation
        steps = degradation.factor if degradation else BLOCKS.factor
        by = [int(torch.randint(step, (1,), generator=draw)) - step // 2 for step in steps]
        x0 = translated(pair.x0, by, 0.0 if self.task.target == LABELS else -1.0)
        channels = {name: translated(y[None], by) for name, y in zip(self.task.conditions, pair.y)}
        if vary:
            x0 = x0 if self.task.target == LABELS else varied(x0, vary, draw)
            channels |= {name: varied(channels[name], vary, draw).clamp(max=1.0) for name in self.task.contrasts}
        if degradation:
            channels[self.task.inputs[0]] = degradation.degrade(x0[None])[0]
        return replace(pair, x0=x0, y=self.task.stack(channels))

    def crops(self, numbers: range, step: int, cropping: Cropping) -> Crops:
        """Random crops of random subjects, one for each of the sample `numbers` of a training step.

        Sample i of step s depends on (seed, s, i) and nothing else.
        """
        draws = [torch.Generator().manual_seed(mix_seed(cropping.seed, step, number)) for number in numbers]
        pairs = [self._placed(int(torch.randint(len(self), (1,), generator=d)), cropping, step) for d in draws]
        crops = [crop_of(p.x0, p.y, self._coordinates(p.x0.shape[1:]), cropping, d) for p, d in zip(pairs, draws)]
        return Crops(*(torch.stack(parts) for parts in zip(*crops)), draws)

    def _placed(self, index: int, cropping: Cropping, step: int) -> Pair:
        """A subject as it is, or moved if `cropping` says so; it is kept until the next move."""
        moves = cropping.moves(step)
        if moves == 0:
            return self[index]
        if self._moved[0] != moves:
            self._moved = (moves, {})
        kept = self._moved[1]
        if index not in kept:
            draw = torch.Generator().manual_seed(mix_seed(cropping.seed, index, moves, "place"))
            kept[index] = self.moved(index, draw, cropping.vary)
        return kept[index]

    def _coordinates(self, shape) -> torch.Tensor:
        if self._grid is None or self._grid.shape[1:] != shape:
            self._grid = coordinates(shape, self.device)[0]
        return self._grid


def coarsening(spacing, wanted: float, where) -> int:
    """The whole factor from a file's voxel sizes `spacing` to the `wanted` one; raises `VolumeError` if none fits."""
    factor = max(1, round(wanted / spacing[0]))
    if any(abs(s * factor - wanted) > TOLERANCE * wanted for s in spacing):
        raise VolumeError(f"{where}: voxels of {spacing} mm do not go into {wanted} mm; resample them first")
    return factor


def coarse_affine(affine: np.ndarray, factor: int | tuple[int, int, int]) -> np.ndarray:
    """The affine of a grid whose voxels are blocks of `factor` voxels along each axis; it maps to their centres."""
    factor = np.broadcast_to(factor, 3)
    coarse = affine.copy()
    coarse[:3, :3] *= factor
    coarse[:3, 3] += affine[:3, :3] @ ((factor - 1) / 2)
    return coarse
