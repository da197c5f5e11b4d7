# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Figure S1. Whom the fusion listens to
# The weight of each expert (axial: the one that was trained on axial slices) in the steps of one trajectory of
# `ours-tpdm`, in one coronal cut, on the whole range from 0 to 1: white is the plain average, orange trusts the expert
# more and violet less. The line below says where nearly all weights lie; where the maps are pale, the gate decides little.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | scan | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
import torch

from diffens_core.show import plots
from diffens_core.diffusion.sampler import ddim, noise_for
from diffens_core.data.tasks import task_named
from figures.page import open_page

page = open_page("figure_s1_gates", preset, settings, data, runs)

# %%
for task, gallery in page.galleries().items():
    fusion, pair, chosen = gallery.drawn["ours-tpdm"].model, gallery.pair(0), gallery.experiment.preset
    y = pair.y[None].to(next(fusion.parameters()).device)
    xt, gates = noise_for(pair.subject, [0], 0, y.shape[2:], y.device), {}
    with torch.inference_mode():
        for state in ddim(fusion, y, xt, chosen.steps, project=task_named(task).project):
            fused = fusion.fuse(xt, y, torch.tensor([state.t], device=y.device))
            gates[f"t = {state.t}"], xt = fused.gate[0].float().cpu().numpy(), state.xt
    few = {name: gates[name] for name in list(gates)[:: max(1, len(gates) // 5)]}
    figure = plots.expert_maps(few, chosen.planes, pair.brain.numpy(), gallery.place(0))
    page.add_figure(f"figure_s1_{task}", figure)
