"""Diff-Ensembler / Score-Fusion: volume-to-volume translation with 2D diffusion models fused in 3D.

Names for notebooks, courses and labs are here: `from diffens_core import open_experiment, METHODS`. The modules lie in
wings, and each imports only from the wings before it: `support`, `data`, `diffusion`, `networks`, `models`,
`training`, `experiment`, `evaluation`, `show`; `translate`, `batch`, `check` and `cli` stand on top.
"""

from .data.tasks import TASKS, task_named
from .data.volumes import load_volume, save_volume
from .diffusion.sampler import ddim, noise_for
from .diffusion.schedule import Schedule
from .evaluation.evaluate import cost_of, evaluate
from .evaluation.judges import open_judges
from .evaluation.metrics import image_metrics, roughness
from .evaluation.names import heading
from .evaluation.scores import METRICS, by_subject, compare, results_table, score, subject_means
from .evaluation.statistics import comparisons, with_intervals
from .experiment.experiment import open_experiment
from .experiment.methods import ABLATIONS, METHODS
from .experiment.presets import PRESETS
from .experiment.samples import Samples, sample
from .models.experts import Average, SliceExpert
from .models.fusion import Fusion
from .networks.borrowed import Borrowed
from .networks.precision import autocast
from .networks.unet import UNet
from .show.parameters import check_parameters
from .support.errors import DiffensError
from .training.runs import build
from .translate import translate_files

__version__ = "0.1.0"

__all__ = [
    "ABLATIONS",
    "autocast",
    "Average",
    "Borrowed",
    "build",
    "by_subject",
    "check_parameters",
    "compare",
    "comparisons",
    "cost_of",
    "ddim",
    "DiffensError",
    "evaluate",
    "Fusion",
    "heading",
    "image_metrics",
    "load_volume",
    "METHODS",
    "METRICS",
    "noise_for",
    "open_experiment",
    "open_judges",
    "PRESETS",
    "results_table",
    "roughness",
    "sample",
    "Samples",
    "save_volume",
    "Schedule",
    "score",
    "SliceExpert",
    "subject_means",
    "task_named",
    "TASKS",
    "translate_files",
    "UNet",
    "with_intervals",
]
