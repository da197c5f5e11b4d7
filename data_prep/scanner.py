"""A simple MR scanner: tissue fractions to images, through the signal equations of spin echo and inversion recovery.

T1, T2 and proton density are drawn per tissue and head from ranges reported at 3 T (Wansapura 1999, Stanisz 2005 for
the healthy tissues; tumour tissues are set to look like published cases). The sequence timings are drawn as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_prep.anatomy import TISSUES, Head
from data_prep.fields import Grid, smooth_field
from diffens_core.data.layout import CONTRASTS

# T1 ms, T2 ms, proton density relative to water, concentration of the contrast agent mmol/l: (low, high) of each
PROPERTIES = {
    "csf": ((3900, 4500), (450, 900), (0.97, 1.0), (0, 0.01)),
    "gm": ((1350, 1600), (88, 102), (0.80, 0.85), (0.01, 0.03)),
    "wm": ((800, 950), (66, 76), (0.68, 0.72), (0.005, 0.015)),
    "oedema": ((1350, 1700), (140, 200), (0.84, 0.92), (0.01, 0.04)),
    "enhancing": ((1350, 1700), (105, 150), (0.82, 0.90), (0.12, 0.35)),
    "necrotic": ((2200, 3200), (180, 400), (0.90, 0.97), (0.01, 0.06)),
    "lesion": ((1150, 1400), (110, 150), (0.78, 0.84), (0.005, 0.02)),
    "vessel": ((1600, 1700), (60, 100), (0.45, 0.65), (0.8, 1.5)),
}
RELAXIVITY = 4.5e-3  # of a gadolinium agent, 1/ms per mmol/l
# How much the texture of each tissue varies, relative to white matter
HETEROGENEITY = np.array([0.3, 1.2, 1.0, 1.8, 2.5, 1.5, 1.5, 1.0], np.float32)


@dataclass(frozen=True)
class Timing:
    """Repetition, echo and inversion time in ms; an inversion time of 0 means a plain spin echo."""

    tr: float
    te: float
    ti: float = 0.0

    def signal(self, t1, t2, pd) -> np.ndarray:
        """The magnitude, relative to fully relaxed water, for arrays of tissue properties."""
        recovery = 1 - np.exp(-self.tr / t1)
        if self.ti:
            recovery = 1 - 2 * np.exp(-self.ti / t1) + np.exp(-self.tr / t1)
        return pd * np.abs(recovery) * np.exp(-self.te / t2)


def scan(key: tuple[int, ...], head: Head, grid: Grid) -> dict[str, np.ndarray]:
    """Images of `head` by contrast: float32 [X, Y, Z], in arbitrary units, positive in the brain and 0 outside.

    The noise is that of a 1 mm image averaged over the voxel: the SNR of white matter is 25 to 50 times spacing^1.5.
    """
    rng = np.random.default_rng([*key, 3])
    properties = np.array([[rng.uniform(*span) for span in PROPERTIES[tissue]] for tissue in TISSUES]).T
    textures = _textures(key, head, grid)
    images = {}
    for number, contrast in enumerate(CONTRASTS):
        own = np.random.default_rng([*key, 4, number])
        signal = _mix(properties, _timing(own, contrast, properties), contrast == "t1ce", head, textures)
        images[contrast] = _acquire(own, signal, head, grid)
    return images


def _timing(rng: np.random.Generator, contrast: str, properties: np.ndarray) -> Timing:
    """The random sequence timing of one contrast; FLAIR's inversion time almost nulls CSF."""
    if contrast == "t2":
        return Timing(tr=rng.uniform(3500, 6000), te=rng.uniform(85, 105))
    if contrast == "flair":
        tr, csf = rng.uniform(8500, 10000), properties[0, 0]
        null = csf * np.log(2 / (1 + np.exp(-tr / csf)))
        return Timing(tr=tr, te=rng.uniform(90, 115), ti=null * rng.uniform(0.9, 0.95))
    return Timing(tr=rng.uniform(400, 550), te=rng.uniform(8, 11))


def _textures(key, head: Head, grid: Grid) -> np.ndarray:
    """Relative deviation [3, N] of T1, T2 and proton density within the brain, shared by all contrasts."""
    octaves = ({2.5: 0.025, 7.0: 0.015, 25.0: 0.02}, {2.5: 0.025, 7.0: 0.02, 25.0: 0.025}, {2.5: 0.01, 20.0: 0.01})
    rngs = [np.random.default_rng([*key, 5, number]) for number in range(3)]
    return np.stack([smooth_field(rng, grid, one)[head.brain] for rng, one in zip(rngs, octaves)])


def _mix(properties, timing: Timing, agent: bool, head: Head, textures: np.ndarray) -> np.ndarray:
    """The signal [N]: the tissues' signals weighted by their shares, with first-order responses to the textures."""
    t1, t2, pd, dose = properties

    def signal(d1=0.0, d2=0.0, dp=0.0):
        rate = 1 / (t1 * (1 + d1)) + (RELAXIVITY * dose if agent else 0)
        return timing.signal(1 / rate, t2 * (1 + d2), pd * (1 + dp))

    step = 0.02
    base = signal()
    slopes = np.stack([signal(d1=step), signal(d2=step), signal(dp=step)]) - base
    weights = np.concatenate([base[None], slopes / step * HETEROGENEITY]).astype(np.float32)
    mixed = weights @ head.tissues
    return mixed[0] + (mixed[1:] * textures).sum(0)


def _acquire(rng: np.random.Generator, signal: np.ndarray, head: Head, grid: Grid) -> np.ndarray:
    """The image: `signal` with coil sensitivity, a texture of this contrast alone, Rician noise and a random unit."""
    gain = np.exp(smooth_field(rng, grid, {70.0: 0.10})[head.brain] + smooth_field(rng, grid, {3.0: 0.015})[head.brain])
    unit, snr = np.exp(rng.normal(6, 0.8)), rng.uniform(25, 50) * grid.spacing**1.5
    level = float(np.median(signal[head.tissues[2] > 0.7]))
    noise = rng.standard_normal((2, signal.size), dtype=np.float32) * np.float32(level / snr)
    image = np.zeros(grid.shape, np.float32)
    image[head.brain] = np.maximum(np.hypot(signal * gain + noise[0], noise[1]), 1e-4 * level) * unit
    return image
