"""Networks that look at translations: a segmenter, and extractors of features for distances between sets."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from nibabel.affines import voxel_sizes

from ..data.prepared import Pair
from ..data.tasks import SEGMENTATIONS
from ..experiment.experiment import Experiment
from ..models.segmentation import Segmenter, published_segmenter, regions_of, segmentation_metrics
from ..networks.precision import autocast
from ..support.device import pick_device
from ..support.files import digest
from .distributions import VoxelMeans, frechet_distance, mmd_rbf
from .features import MedicalNet, SegmenterFeatures

OWN = "own"


@dataclass(frozen=True)
class Judges:
    """segmenter: of tumours; contrasts: the task whose contrasts it reads; features: extractors of `features.py`.

    digests: what identifies the weights of each of them, by name.
    """

    segmenter: Segmenter | None = None
    contrasts: str = "seg4"
    features: Sequence[Callable] = ()
    digests: Mapping[str, str] = field(default_factory=dict)

    def segment(self, contrasts: Pair, flair: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
        """What the segmenter finds with a FLAIR [1, X, Y, Z] in place of the true one, bool [3, X, Y, Z]; its scores.

        contrasts: the subject's, with its labels.
        """
        with autocast(pick_device()):
            found = self.segmenter.segment(torch.cat([flair, contrasts.y[1:]]), contrasts.brain)
        spacing = voxel_sizes(contrasts.affine)
        return found, segmentation_metrics(found, regions_of(contrasts.x0[0]), spacing)


def open_judges(experiment: Experiment, segmenter: str = "", medicalnet: str = "", sets: bool = True) -> Judges:
    """segmenter: `own`, one trained here (now, if need be), or a file of a published one, for 1 mm and four contrasts.
    medicalnet: a file of MedicalNet's weights, or `download`. Empty: none of them.

    The own segmenter reads four contrasts where the data set has them, else FLAIR and T1ce. With it comes another, of
    FLAIR alone, whose features are compared, unless `sets` of volumes are not to be. Raises `ConfigError` for files
    that are not what they should be.
    """
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


def segmentation_task(experiment: Experiment) -> str:
    """`seg4` where all four contrasts are there, else `seg2`, of FLAIR and T1ce."""
    return "seg4" if set(SEGMENTATIONS["seg4"].inputs) <= experiment.contrasts else "seg2"


class SetMetrics:
    """Distances between all translations and all true volumes, from what is kept of each subject."""

    def __init__(self, extractors: Sequence[Callable]):
        self.voxels = VoxelMeans()
        self.features = {extractor: ([], []) for extractor in extractors}

    def add(self, volume: torch.Tensor, target: torch.Tensor) -> None:
        """One subject: both [1, X, Y, Z] in [-1, 1]."""
        self.voxels.add(volume, target)
        for extractor, (made, true) in self.features.items():
            made.append(extractor(volume))
            true.append(extractor(target))

    def values(self) -> dict[str, float]:
        """By name: `mmd_linear_voxels`; per extractor the Frechet distance, which is called `fid` on MedicalNet's
        features alone, the MMD, and its kernel's bandwidth. Distances of features need two subjects."""
        found = {"mmd_linear_voxels": self.voxels.value}
        for extractor, sides in self.features.items():
            if self.voxels.count > 1:
                made, true = (torch.stack(side) for side in sides)
                name = extractor.name
                found[f"{'fid' if name.startswith('medicalnet') else 'frechet'}_{name}"] = frechet_distance(made, true)
                found[f"mmd_rbf_{name}"], found[f"mmd_bandwidth_{name}"] = mmd_rbf(made, true, paired=True)
        return found
