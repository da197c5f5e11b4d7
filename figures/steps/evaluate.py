# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Step: all that is measured of one method
# As `diffens evaluate METHOD` does: image metrics, distances between sets, uncertainty, segmentation.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | scan | gpu | paper
task: str = "sr"  # sr | mt | both, or such as t1->t2
method: str = "tpdm"
seed: int = 0  # of training and sampling
steps: int = 0  # of sampling; 0: the preset's
sampler: str = ""  # ddim, ddim:ETA, ancestral or dpm++; empty: the preset's
split: str = "test"
subjects: int = 0  # how many of them; 0: all
samples: int = 1  # of each subject
segmenter: str = "own"  # own, a file of a published one, or none
medicalnet: str = ""  # the file resnet_50_23dataset.pth, or download; empty: no FID
sets: int = 1  # 0: no distances between sets on features of a network trained here
data: str = ""  # a prepared data set; empty: embedded phantoms
second: str = ""  # another prepared data set, to translate instead
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
out: str = ""  # where metrics.csv and cost.json go

# %%
from pathlib import Path

from diffens_core import check_parameters
from diffens_core.evaluation.scores import summary
from diffens_core.experiment.experiment import open_experiment
from diffens_core.evaluation.judges import is_judged, open_judges
from diffens_core.evaluation.evaluate import TRUTH, evaluate
from figures.plan import NONE

# %%
check_parameters()
experiment = open_experiment(preset, seed, data, runs, second=second, steps=steps, sampler=sampler)
segmenter = segmenter.removesuffix(NONE) if is_judged(task) else ""
judges = open_judges(experiment, task, segmenter, medicalnet, sets=bool(sets) and method != TRUTH)
options = {"split": split, "subjects": subjects, "samples": samples, "judges": judges}
metrics, cost = evaluate(experiment, method, task, out=Path(out), **options)
summary(metrics)

# %%
cost
