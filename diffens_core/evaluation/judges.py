"""Networks that judge translations: a tumour segmenter, and feature extractors for distances between sets."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from nibabel.affines import voxel_sizes

from ..data.prepared import Pair
from ..data.tasks import FLAIR, SEGMENTATIONS, task_named
from ..experiment.experiment import Experiment
from ..models.segmentation import Segmenter, published_segmenter, regions_of, segmentation_metrics
from ..networks.precision import autocast
from ..support.device import pick_device
from ..support.errors import MissingError
from ..support.files import digest
from ..support.settings import ConfigError
from .distributions import VoxelMeans, frechet_distance, mmd_rbf
from .features import DOWNLOAD, MedicalNet, SegmenterFeatures

OWN = "own"


@dataclass(frozen=True)
class Judges:
    """The networks that judge translations; by default none.

    segmenter: of tumours; contrasts: the task whose contrasts it reads; features: extractors of `features.py`.
    digests: what identifies the weights of each of these networks, by name.
    """

    segmenter: Segmenter | None = None
    contrasts: str = "seg4"
    features: Sequence[Callable] = ()
    digests: Mapping[str, str] = field(default_factory=dict)

    def segment(self, contrasts: Pair, flair: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
        """Segment with a FLAIR [1, X, Y, Z] in place of the true one: bool [3, X, Y, Z], and its scores.

        contrasts: all of the subject's, with its labels.
        """
        with autocast(pick_device()):
            regions = self.segmenter.segment(torch.cat([flair, contrasts.y[1:]]), contrasts.brain)
        spacing = voxel_sizes(contrasts.affine)
        return regions, segmentation_metrics(regions, regions_of(contrasts.x0[0]), spacing)


def open_judges(
    experiment: Experiment, task: str, segmenter: str = "", medicalnet: str = "", sets: bool = True
) -> Judges:
    """Open the networks that an evaluation of a task asks for; those that are empty are left out.

    segmenter: `own`, one trained here (now, if need be), or a file of a published one, for 1 mm and four contrasts.
    medicalnet: a file of MedicalNet's weights, or `download`. sets: whether sets of volumes are compared.

    The own segmenter reads four contrasts where the data set has them, else FLAIR and T1ce. For `sets`, a second one
    that reads the FLAIR alone gives features. Raises `ConfigError` for a file that is not of such a network, and for a
    segmenter where the task's target is no FLAIR: it would judge nothing.
    """
    check_judges(task, segmenter, medicalnet)
    features, digests = [], {}
    if medicalnet:
        features.append(MedicalNet(medicalnet))
    if segmenter == OWN and sets:
        features.append(SegmenterFeatures(experiment.segmenter("seg1"), experiment.segmenter_run("seg1").identity))
    digests |= {extractor.name: extractor.digest for extractor in features}
    if not segmenter:
        return Judges(features=tuple(features), digests=digests)
    if segmenter == OWN:
        contrasts = segmentation_task(experiment)
        digests["own"] = experiment.segmenter_run(contrasts).identity
        return Judges(experiment.segmenter(contrasts), contrasts, tuple(features), digests)
    published = published_segmenter(segmenter).to(pick_device())
    digests["published"] = digest(segmenter)
    if experiment.data.spacing != 1.0:
        warnings.warn(f"{segmenter} was trained at 1 mm, this preset has {experiment.data.spacing} mm", stacklevel=2)
    return Judges(published, "seg4", tuple(features), digests)


def check_judges(task: str, segmenter: str, medicalnet: str) -> None:
    """Refuse what `open_judges` would refuse, before anything is trained: raises `ConfigError` or `MissingError`."""
    if segmenter and not is_judged(task):
        raise ConfigError(f"tumours are found with a FLAIR, which task '{task}' does not make; leave the segmenter out")
    for file, word in ((segmenter, OWN), (medicalnet, DOWNLOAD)):
        if file not in ("", word) and not Path(file).is_file():
            raise MissingError(f"{file}: no such file")


def is_judged(task: str) -> bool:
    """Whether segmenters judge the translations of a task: its target is the FLAIR that they read."""
    return task_named(task).target == FLAIR


def segmentation_task(experiment: Experiment) -> str:
    """`seg4` where the data have all four contrasts, else `seg2`, which reads FLAIR and T1ce."""
    return "seg4" if set(SEGMENTATIONS["seg4"].inputs) <= experiment.contrasts else "seg2"


class SetMetrics:
    """Distances between the set of translations and the set of true volumes, gathered subject by subject."""

    def __init__(self, extractors: Sequence[Callable]):
        self.voxels = VoxelMeans()
        self.features = {extractor: ([], []) for extractor in extractors}

    def add(self, volume: torch.Tensor, target: torch.Tensor) -> None:
        """Add one subject: both volumes are [1, X, Y, Z] in [-1, 1]."""
        self.voxels.add(volume, target)
        for extractor, (made, true) in self.features.items():
            made.append(extractor(volume))
            true.append(extractor(target))

    def values(self) -> dict[str, float]:
        """The distances by name: `mmd_linear_voxels`; per extractor the Frechet distance, which is called `fid` on
        MedicalNet's features alone, the MMD, and its kernel's bandwidth. Distances of features need two subjects."""
        distances = {"mmd_linear_voxels": self.voxels.value}
        for extractor, sides in self.features.items():
            if self.voxels.count > 1:
                made, true = (torch.stack(side) for side in sides)
                name = extractor.name
                kind = "fid" if name.startswith("medicalnet") else "frechet"
                distances[f"{kind}_{name}"] = frechet_distance(made, true)
                distances[f"mmd_rbf_{name}"], distances[f"mmd_bandwidth_{name}"] = mmd_rbf(made, true, paired=True)
        return distances
