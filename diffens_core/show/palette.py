"""One colour for each method, the same in every figure: a hue for its kind, told apart by colour-blind eyes too.

Found by a search for the largest distance between the two most similar, as seen with and without each of the three
kinds of dichromacy (`tests/test_palette.py` measures it).
"""

from __future__ import annotations

from collections.abc import Iterable

import seaborn as sns

TRUTH = "#000000"
METHODS = {
    # interpolations: grey
    "degraded": "#AEAEAE",
    "cubic": "#626262",
    "cubic-projected": "#353535",
    # one 2D diffusion model: purple
    "palette-axial": "#B00ADD",
    "palette-sagittal": "#A866D1",
    "palette-coronal": "#6637A6",
    "palette-2.5d-axial": "#4C01FB",
    "palette-2.5d-sagittal": "#44019B",
    "palette-2.5d-coronal": "#4A2655",
    # diffusion in 3D: turquoise
    "palette-3d": "#059496",
    "wavelet-3d": "#87D7DC",
    "latent-3d": "#136E82",
    "make-a-volume": "#22E6AC",
    # regression: green
    "unet-2d": "#7DC954",
    "unet-3d": "#AFD487",
    # adversaries: pink
    "pix2pix-2d": "#CF7375",
    "pix2pix-3d": "#BD0359",
    # bridges: yellow
    "i2sb": "#EDC901",
    "i2sb-ode": "#786637",
    # averages: blue
    "tpdm": "#3675FF",
    "tpdm-alternate": "#4F5894",
    "tpdm-random": "#6982AF",
    "tosm": "#3EA2FB",
    "madm": "#033178",
    "madm-samples": "#9DA7EA",
    "multi-tpdm": "#AACEFA",
    # fusions: orange and brown
    "ours-tpdm": "#FC6716",
    "ours-tosm": "#8A4900",
    "ours-madm": "#623C2C",
    "ours-small": "#BD8759",
    "multi-ours": "#CF652E",
    "multi-small": "#771400",
}


def colors_of(names: Iterable[str]) -> dict[str, str]:
    """The colour of each of the names of lines or points, which say a method first, as `ours-tpdm, dpm++` does.

    What a method was changed in (`tpdm+all-time`) has its colour. Names that say no method have colours of seaborn's
    palette for colour-blind eyes, in their order.
    """
    found = {name: method_of(name) for name in names}
    others = [name for name, method in found.items() if not method]
    rest = dict(zip(others, sns.color_palette("colorblind", len(others)).as_hex()))
    return {name: COLORS[method] if method else rest[name] for name, method in found.items()}


def method_of(name: str) -> str:
    """The method that a name of a line begins with, without what was changed of it; empty if it says none."""
    method = name.split(",")[0].split("+")[0].split(" (")[0].split("\n")[0]
    return method if method in COLORS else ""


COLORS = {"truth": TRUTH} | METHODS
