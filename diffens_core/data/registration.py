"""Two volumes of one head brought together: the rigid motion between them, found by mutual information (SimpleITK)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from nibabel.affines import apply_affine

from ..support.errors import MissingError
from .grids import resample
from .volumes import Volume, VolumeError, foreground, load_volume, save_volumes

TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # SimpleITK's world, from that of nibabel
TURN = 0.3  # radians that the coarse search turns the head by, about each axis, before it begins
COARSE = ((6.0, 20_000),)  # of each level: millimetres that its voxels are to have, and how many of them are read
FINE = ((3.0, 50_000), (1.0, 150_000))
ITERATIONS = 200  # of each level, at most
STILL = 1.0  # voxels at the corners of a volume: a motion below that is the search's own error


def register(fixed: Volume, moving: Volume) -> Volume:
    """`moving` with an affine that puts it where its head lies on that of `fixed`; its voxels are untouched.

    The rigid motion (three turns, three shifts) maximises Mattes' mutual information, so the contrasts may differ. A
    coarse search begins where the headers have the two, and with their centres of mass together, turned either way
    about each axis; the best end is refined. Where it moves no corner by a voxel, the headers are right: `moving` is
    returned as it is. Heads must show the same: both stripped, or both with their skulls. Raises `VolumeError` for what
    cannot be registered, `MissingError` without SimpleITK.
    """
    sitk = _simpleitk()
    if not (fixed.data.any() and moving.data.any()):
        raise VolumeError("an empty volume cannot be registered: every voxel is 0")
    images = _image(sitk, fixed), _image(sitk, moving)
    try:
        coarse = [_descend(sitk, *images, start, COARSE) for start in _starts(sitk, fixed, moving)]
        best, _ = min(coarse, key=lambda end: end[1])
        motion = _matrix(_descend(sitk, *images, best, FINE)[0])
    except RuntimeError as error:  # SimpleITK's only kind
        raise VolumeError("no motion brings the two together; are they of one head?") from error
    back = np.linalg.inv(TO_LPS @ motion @ TO_LPS)  # a motion leads from the fixed world to the moving one
    moved = replace(moving, affine=back @ moving.affine)
    return moving if moved.grid.distance(moving.grid) < STILL else moved


def register_files(fixed, moving, out, mask=None, mask_out=None, overwrite: bool = True) -> tuple[float, float]:
    """Write the file `moving` on the grid of the file `fixed` as `out`; a `mask` of `moving` goes the same way.

    overwrite: as of `save_volumes`.
    Returns by how many degrees the head was turned, and by how many millimetres the centre of its volume was shifted.
    Raises `VolumeError` for a file that cannot be used, and for a mask that is not on the grid of `moving`.
    """
    still, mover = load_volume(fixed), load_volume(moving)
    for path, volume in ((fixed, still), (moving, mover)):
        if not volume.data.any():
            raise VolumeError(f"{path}: every voxel is 0, so there is nothing to register")
    follower = load_volume(mask) if mask else None
    if follower and not follower.grid.same_as(mover.grid):
        raise VolumeError(f"{mask}: is not on the grid of {moving}")
    moved = register(still, mover)
    contents = {out: onto(still, moved).data}
    if follower:
        contents[mask_out] = onto(still, replace(follower, affine=moved.affine), order=0).data
    save_volumes(contents, still, overwrite)
    motion = moved.affine @ np.linalg.inv(mover.affine)
    center = apply_affine(mover.affine, np.subtract(mover.data.shape, 1) / 2)
    cosine = (np.trace(motion[:3, :3]) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))), float(
        np.linalg.norm(apply_affine(motion, center) - center)
    )


def onto(fixed: Volume, moving: Volume, order: int = 1) -> Volume:
    """`moving` on the grid and with the geometry of `fixed`; `order` as in `resample`, 0 for labels and masks.

    Of an interpolated image, background is where the nearest voxel of `moving` is.
    """
    data = resample(moving.data, moving.affine, fixed.grid, order)
    if order > 0:
        brain = resample(foreground(moving.data).astype(np.uint8), moving.affine, fixed.grid, order=0)
        data = np.where(brain > 0, data, np.float32(0))
    return replace(fixed, data=data)


def _simpleitk():
    try:
        import SimpleITK
    except ImportError as error:
        raise MissingError("registration needs SimpleITK: pip install 'diffens[register]'") from error
    return SimpleITK


def _image(sitk, volume: Volume):
    """A SimpleITK image of `volume`, in LPS."""
    affine = TO_LPS @ volume.affine
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.data.T))
    image.SetSpacing(volume.spacing)
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / volume.spacing).ravel().tolist())
    return image


def _middle(volume: Volume) -> list[float]:
    """Centre of mass of the absolute intensities, in LPS millimetres."""
    weight = np.abs(volume.data)
    voxel = [float(weight.sum(axis=tuple({0, 1, 2} - {a})) @ np.arange(n)) for a, n in enumerate(weight.shape)]
    return ((TO_LPS @ volume.affine) @ [*np.divide(voxel, weight.sum()), 1.0])[:3].tolist()


def _starts(sitk, fixed: Volume, moving: Volume) -> list:
    """The motions that the coarse search begins with, as SimpleITK's transforms."""
    center = _middle(fixed)
    shift = np.subtract(_middle(moving), center).tolist()
    turns = [np.zeros(3), *TURN * np.eye(3), *-TURN * np.eye(3)]
    return [sitk.Euler3DTransform(center), *(sitk.Euler3DTransform(center, *map(float, t), shift) for t in turns)]


def _descend(sitk, fixed, moving, start, levels) -> tuple:
    """The best motion near `start`, level after level, and minus its mutual information."""
    shrink = [max(1, round(millimetres / min(fixed.GetSpacing()))) for millimetres, _ in levels]
    voxels = [np.prod(fixed.GetSize()) / factor**3 for factor in shrink]
    shares = [float(min(1.0, samples / n)) for (_, samples), n in zip(levels, voxels)]
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=32)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentagePerLevel(shares, seed=1)  # samples are moved a little, at random
    method.SetNumberOfThreads(1)  # sums depend on the number of threads, and a search on its sums
    method.SetShrinkFactorsPerLevel(shrink)
    method.SetSmoothingSigmasPerLevel([millimetres / 2 for millimetres, _ in levels])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, ITERATIONS, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    motion = sitk.Euler3DTransform(start)
    method.SetInitialTransform(motion, inPlace=True)
    method.Execute(fixed, moving)
    return motion, method.GetMetricValue()


def _matrix(motion) -> np.ndarray:
    """[4, 4] of one of SimpleITK's rigid transforms, in LPS."""
    turn, center = np.reshape(motion.GetMatrix(), (3, 3)), np.array(motion.GetCenter())
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn, center + motion.GetTranslation() - turn @ center
    return matrix
