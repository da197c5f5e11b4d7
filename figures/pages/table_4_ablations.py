# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Table 4. Ablations
# `ours-tpdm` with one thing changed: without the projection onto what was measured; without the last phase on whole
# volumes; without the 2D models' feature maps; with the gate alone or the residual alone; two or three of these at once, as
# in two rows of the paper. `ours-small` has half the width and no feature maps.
#
# The paper's rows are on 250 BraTS volumes.

# %% tags=["parameters"]
preset: str = "smoke"  # smoke | demo | scan | gpu | paper
data: str = ""  # a prepared data set; empty: embedded phantoms
runs: str = ""  # where trainings are kept; empty: runs/ in the checkout
settings: str = ""  # others in place of those in experiments.yaml, written as for snakemake --config

# %%
from figures.contents import CHANGES
from figures.page import open_page
from figures.tables import IMAGE, SETS, SSIM_PAPER, leads, measured, tasks_of

page = open_page("table_4_ablations", preset, settings, data, runs)
print(page.about)

# %%
changed = page.metrics[page.metrics["method"].isin(CHANGES)]
for task, title in tasks_of(changed).items():
    print(f"Task {task}: {title}")
    page.add_table(f"table_4_{task}", measured(page.metrics, task, (*IMAGE, SSIM_PAPER, *SETS[:1]), paper=4))

# %% [markdown]
# What each change costs or brings against `ours-tpdm` itself, subject by subject:

# %%
others = {m: "ours-tpdm" for m in sorted(set(page.metrics["method"])) if m.startswith("ours-") and m != "ours-tpdm"}
for metric, table in leads(page.metrics, others, IMAGE[:2]).items():
    page.add_table(f"table_4_lead_{metric}", table)
