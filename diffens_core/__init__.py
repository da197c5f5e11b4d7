"""Diff-Ensembler / Score-Fusion: volume-to-volume translation with 2D diffusion models fused in 3D.

What a notebook, a course or a lab uses is here: `from diffens_core import open_experiment, METHODS`. The rest lies in
wings, and imports run one way, from the later to the earlier: `support`, `data`, `diffusion`, `networks`, `models`,
`training`, `experiment`, `evaluation`, `show`; `translate` and `cli` stand on top.
"""

from .data.tasks import TASKS
from .data.volumes import load_volume, save_volume
from .diffusion.sampler import ddim
from .diffusion.schedule import Schedule
from .evaluation.evaluate import evaluate
from .evaluation.metrics import image_metrics
from .evaluation.scores import compare
from .experiment.experiment import open_experiment
from .experiment.methods import METHODS
from .experiment.presets import PRESETS
from .experiment.samples import sample
from .models.experts import Average, SliceExpert
from .models.fusion import Fusion
from .networks.borrowed import Borrowed
from .networks.unet import UNet
from .support.errors import DiffensError
from .translate import translate_files

__version__ = "0.1.0"

__all__ = [
    "Average",
    "Borrowed",
    "compare",
    "ddim",
    "DiffensError",
    "evaluate",
    "Fusion",
    "image_metrics",
    "load_volume",
    "METHODS",
    "open_experiment",
    "PRESETS",
    "sample",
    "save_volume",
    "Schedule",
    "SliceExpert",
    "TASKS",
    "translate_files",
    "UNet",
]
