"""What the paper says, what its released code does, and what preset `paper` does here, as one Markdown table.

    python -m figures.letter        writes figures/results/paper_to_the_letter.md

The last column is read from the preset; the first two are facts of the paper's text and of the repository
`score-fusion/ScoreFusion` (commit fd13d64). `-` means that it is silent.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffens_core.data.measurement import BLOCKS
from diffens_core.experiment.differences import differences
from diffens_core.experiment.presets import PRESETS
from diffens_core.models.experts import channels_in
from diffens_core.training.config import RunConfig

from .networks import run_of

FILE = Path(__file__).with_name("results") / "paper_to_the_letter.md"


@dataclass(frozen=True)
class Row:
    """One setting or definition. switch: its name in a preset or configuration, where another choice can be made."""

    what: str
    paper: str
    released: str
    here: str
    switch: str = ""
    why: str = ""


def phases(run: RunConfig) -> str:
    """The phases of a training, each with its window, batch and rate."""
    parts = []
    for phase in run.train.phases:
        window = phase.crop or phase.patch
        where = "x".join(map(str, window)) if window else "whole volumes"
        parts.append(f"{phase.steps} steps on {where}, batch {phase.batch}, {phase.lr:g}")
    return "; then ".join(parts)


def channels(run: RunConfig) -> int:
    """How many channels the network of a diffusion model reads."""
    return channels_in(len(run.translation.conditions), run.slab) + len(run.experts)


def attention(run: RunConfig) -> str:
    """Where a network has self-attention."""
    levels = [f"at level {level + 1}" for level in run.unet.attention]
    return ", ".join(levels) or ("in the middle" if run.unet.middle_attention else "none")


def rows() -> list[Row]:
    """All rows, the last column from preset `paper`."""
    preset = PRESETS["paper"]
    expert, fusion, small = (run_of("paper", name) for name in ("palette-axial", "ours-tpdm", "ours-small"))
    med, madm, tosm = (run_of("paper", name) for name in ("palette-3d", "madm", "ours-tosm"))
    latent = run_of("paper", "make-a-volume").experts[0]
    train, fused = expert.train, fusion.fusion

    def widths(run: RunConfig) -> str:
        return ", ".join(str(run.unet.base * m) for m in run.unet.mult)

    return [
        Row(
            "predicted",
            "noise",
            "noise",
            f"{expert.prediction}, {fused.prediction}",
            "prediction",
            "`v` elsewhere: noise, divided by a small root of alpha_bar, blows up in short trainings",
        ),
        Row(
            "loss",
            "L2 of the noise",
            "2D: none, its step is commented out; 3D: 5 L1 + 150 L2",
            f"L2 of {train.loss}",
            "train.loss, train.norm",
        ),
        Row("noise levels", "uniform", "uniform", "spread" if train.spread else "uniform", "train.spread"),
        Row("gradient clipping", "-", "-", f"{train.clip:g}" if train.clip else "none", "train.clip"),
        Row("mirrored heads", "-", "none", "half" if train.mirror else "none", "train.mirror"),
        Row(
            "optimiser, rate of 2D",
            "Adam, 5e-5",
            "Adam, 5e-5",
            f"{train.optimizer}, {phases(expert)}",
            "expert_train",
            "the paper has GPU days, no number of steps: these are ours",
        ),
        Row(
            "optimiser, rate of 3D",
            "Adam, 1e-4",
            "Adam, 1e-5",
            f"{fusion.train.optimizer}, {phases(fusion)}",
            "fusion_train",
            "patches, then whole volumes (Sec. 3.3); the patch is the released code's, the steps are ours",
        ),
        Row(
            "patches of stage 2",
            "experts and fusion see patches",
            "64x64x64 for both",
            "both" if fusion.train.phases[0].crop else "the fusion alone",
            "fusion_train",
            "a `patch` in place of a `crop` shows the experts whole slices",
        ),
        Row(
            "moving average",
            "-",
            "2D 0.9999, not used when fused; 3D 0.995",
            f"{train.ema:g}, used when fused",
            "train.ema",
            "the better weights of an expert are those to fuse",
        ),
        Row(
            "steps of noise, schedule",
            "1000, linear",
            "2D 2000 (1e-6 to 0.01), 3D 1000 (1e-4 to 0.09)",
            f"{expert.diffusion.steps}, {expert.diffusion.kind}, {expert.diffusion.beta_start:g} to "
            f"{expert.diffusion.beta_end:g}",
            "diffusion",
            "the ends are those of DDPM, as the paper names none; one table for 2D and 3D: the released one tells 2D "
            "networks another level than 3D",
        ),
        Row(
            "sampling",
            "DDIM, 50 steps",
            "ancestral, 50 steps",
            f"{preset.sampler}, {preset.steps} steps",
            "steps, sampler",
        ),
        Row(
            "conditions",
            "y",
            "y, 3 coordinates, mask",
            "y, interpolated" if expert.interpolated else "y",
            "interpolated",
            "both with 3 coordinates and the brain mask, as released; Tables 9 to 11 count 5 channels",
        ),
        Row(
            "input channels: 2D, 3D",
            "5, 5",
            "6 (2.5D: 10), 8 or 9",
            f"{channels(expert)} (2.5D: {channels(madm)}), {channels(fusion)} or {channels(tosm)}",
            "",
            "noisy target, conditions, mask, coordinates; in 3D also the noises of two or three experts. The paper's 5 "
            "must be all but the noisy target and these noises",
        ),
        Row(
            "2D attention, dropout",
            "none, -",
            "in the middle, 0.2",
            f"{attention(expert)}, {expert.unet.dropout:g}",
            "expert",
            "no attention in Table 9",
        ),
        Row("2D channels, outputs", "64, 128, 256, 512; 1", "the same", f"{widths(expert)}; 1", "expert"),
        Row(
            "3D channels, outputs",
            "64, 128, 192, 256; 2 (w, r)",
            "the same; 1 or 3",
            f"{widths(fusion)}; {2 + (fused.gate != 'plain')}",
            "fusion",
        ),
        Row("small 3D channels", "32, 64, 64, 128", "the same", widths(small), "small"),
        Row(
            "gate",
            "w and 1 - w, from 1/2",
            "unbounded, two planes from w = 0",
            f"{fused.gate}, from the average",
            "fusion_config.gate",
            "softmax elsewhere: convex, any number of planes; `affine` and `uniform` too",
        ),
        Row(
            "residual",
            "lambda r",
            "two planes: none; three: lambda 1; two conditions: 0.1",
            f"lambda {fused.lam:g}, in units of {fused.residual_unit:g}",
            "fusion_config.lam, .residual_unit",
            "the paper does not name lambda",
        ),
        Row(
            "where the 3D network works",
            "on the volume",
            "on the volume",
            "on the volume" if fused.everywhere else "in the box around the head, the residual within it",
            "fusion_config.everywhere",
        ),
        Row(
            "alignment of features",
            "one convolution a level",
            "one, kernel and stride along the slices",
            "one, kernel and stride along the slices",
            "",
            "zero at first; added after the blocks of a level, as in Table 10; the released code adds before them",
        ),
        Row("start of the 3D network", "the average of the planes", "plane 3 alone", "exactly the average"),
        Row(
            "planes of two",
            "transverse, sagittal",
            "coronal, sagittal",
            ", ".join(preset.planes),
            "planes",
            "the paper's text",
        ),
        Row(
            "TPDM",
            "weighted average",
            "one of the planes at random",
            "average",
            "`tpdm`, `-random`, `-alternate`",
            "three methods; the tables' row is `tpdm`",
        ),
        Row(
            "MADM",
            "three planes of 2.5D",
            "2 neighbours of y on either side",
            f"{madm.slab} neighbours, from noise",
            "`madm`, `madm-samples`, `+prior`",
            "MADM's own code averages samples, from a GAN's translation with the noise of step 200: `+prior` does, "
            "with one draw of noise where it averages two",
        ),
        Row(
            "projection",
            "A x averages 4x4x4 blocks",
            "the same, off for baselines",
            f"{BLOCKS}, for all methods, and rows without",
            "`+no-projection`",
        ),
        Row(
            "target",
            "x0",
            "(x0 - y) / 2",
            {"image": "x0", "residual": "(x0 - y) / 2"}[expert.target],
            "target",
            "`residual` is for diffusion models of one task; the released code shifts states where it fuses two",
        ),
        Row(
            "scale",
            "-",
            "the target's minimum and maximum",
            {"condition": "percentiles of the measurement", "target": "the target's maximum"}[preset.normalisation],
            "normalisation",
            "`target` tells the conditions the target's maximum: it flatters, and such runs translate no files",
        ),
        Row(
            "cut to the background",
            "-",
            "none",
            "yes" if preset.cut else "none",
            "cut",
            "`diffens translate` always cuts: outside the head a file stays 0",
        ),
        Row(
            "split",
            "0.8, 0.2, random",
            "first 80 % by name",
            "0.8, 0.2, by patient, seeded",
            "`--split`, `--split-file`",
        ),
        Row("SSIM", "-", "scikit-image's defaults: 7 voxels, uniform", "`ssim_paper`; `ssim` is Gaussian, 11 voxels"),
        Row("MMD", "MMD", "of mean voxels, linear", "`mmd_linear_voxels`; on features by its own name"),
        Row("FID", "FID", "-", "MedicalNet's features; `frechet_...` for others"),
        Row("MACE", "Eq. 7", "5 runs, ddof 1", "5 runs, ddof 1"),
        Row(
            "3D Palette",
            "Med-DDPM",
            "-",
            f"{widths(med)}, attention {attention(med)}, {phases(med)}, {med.train.norm}",
            "recipes.palette-3d",
            "as Med-DDPM's code for BraTS, where at 192 voxels no level has attention; its loss there is 100 L1 and a "
            "cross-entropy of noise, of which L1 alone makes sense",
        ),
        Row(
            "Make-A-Volume",
            "-",
            "-",
            f"{widths(latent)}, {phases(latent)}; autoencoder {phases(latent.experts[0])}",
            "recipes.latent, .autoencoder",
            "network of GEM-3D; base rates of 5e-6 and 4.5e-6 times the batch, as latent diffusion's trainer scales "
            "them, by slices; GEM-3D counts a stack of 16 as one",
        ),
    ]


def table() -> str:
    """The whole page."""
    lines = [
        "# The paper to the letter",
        "",
        "What the paper says, what its released code does, and what preset `paper` does here. `-`: it is silent. This",
        "page is written by `python -m figures.letter`; its fourth column is read from the preset. The last two say",
        "where another choice can be made, and why this one.",
        "",
        "| | paper | released code | preset `paper` | option | remark |",
        "|---|---|---|---|---|---|",
        *(f"| {r.what} | {r.paper} | {r.released} | {r.here} | {r.switch} | {r.why} |" for r in rows()),
        "",
        "## What preset `demo` does differently",
        "",
        "As `diffens methods --preset paper` prints it; networks of single baselines (`recipes`) are left out.",
        "",
        "| setting | `paper` | `demo` |",
        "|---|---|---|",
    ]
    found = differences(PRESETS["paper"], PRESETS["demo"])
    lines += [f"| `{name}` | {a} | {b} |" for name, (a, b) in found.items() if not name.startswith("recipes.")]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    FILE.write_text(table())
