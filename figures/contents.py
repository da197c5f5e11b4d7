"""The pages of the report: a notebook for each table and figure, and which evaluations it reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from diffens_core.evaluation.evaluate import TRUTH
from diffens_core.evaluation.judges import is_judged
from diffens_core.experiment.methods import ABLATIONS, METHODS, UNPROJECTED

from .plan import Evaluation, Plan

MULTI = ("multi-tpdm", "multi-small", "multi-ours")
RIVALS = {"ours-tpdm": "tpdm", "ours-small": "tpdm", "ours-tosm": "tosm", "ours-madm": "madm"}
RIVALS |= {"multi-ours": "multi-tpdm", "multi-small": "multi-tpdm"}
CHANGES = [name for name in ABLATIONS if name not in UNPROJECTED]
FUSED = [*RIVALS, *dict.fromkeys(RIVALS.values())]


def _nothing(one: Evaluation) -> bool:
    """What a page needs that is made of the code alone."""
    return False


@dataclass(frozen=True)
class Page:
    """title: as in the report; needs: which evaluations it reads; settings: of the plan, that change what it shows.

    network: whether it runs one, and so wants what sampling has. only_with: what there must be some of for a page to
    say anything, where that is not all it reads.
    """

    title: str
    needs: Callable[[Evaluation], bool] = _nothing
    settings: tuple[str, ...] = ()
    network: bool = False
    only_with: Callable[[Evaluation], bool] = lambda one: True

    @property
    def kind(self) -> str:
        """Of job, for estimates and resources."""
        return "sample" if self.network else "page"


def _as_published(needs: Callable[[Evaluation], bool]) -> Callable[[Evaluation], bool]:
    """What a page needs, and of its baselines the rows without projection too, which the paper has."""

    def also(one: Evaluation) -> bool:
        name = one.method.removesuffix("+no-projection") if one.method in UNPROJECTED else one.method
        return needs(replace(one, method=name))

    return also


def _usual(one: Evaluation) -> bool:
    """The preset's steps and sampler."""
    return one.steps == 0 and not one.sampler


def _plain(one: Evaluation) -> bool:
    """First seed, the preset's steps, the first data set."""
    return one.seed == 0 and _usual(one) and not one.second


def _method(one: Evaluation) -> bool:
    return _plain(one) and one.method in METHODS


def _sampled(one: Evaluation) -> bool:
    return _plain(one) and one.method in FUSED and one.method not in MULTI


def _judged(one: Evaluation) -> bool:
    return _plain(one) and is_judged(one.task) and (one.method == TRUTH or one.method in METHODS)


def _second(one: Evaluation) -> bool:
    """First seed, the preset's steps, the second data set."""
    return one.seed == 0 and _usual(one) and one.second


def _swept(one: Evaluation) -> bool:
    """With another number of steps, or another sampler, than the preset's."""
    return one.seed == 0 and not _usual(one) and not one.second


def _fused(one: Evaluation) -> bool:
    """With every seed."""
    return one.method in FUSED and _usual(one) and not one.second


PAGES = {
    "table_1_methods": Page("Table 1. All methods", _as_published(_method)),
    "table_2_segmentation": Page("Table 2. Tumour segmentation", _as_published(_judged)),
    "table_3_multimodality": Page(
        "Table 3. Experts of one modality each, fused",
        _as_published(lambda one: _method(one) and one.task == "both" and one.method in (*MULTI, "tpdm", "ours-tpdm")),
        only_with=lambda one: one.method in MULTI,
    ),
    "table_4_ablations": Page(
        "Table 4. Ablations",
        lambda one: _plain(one) and one.method in (*CHANGES, "tpdm", "tpdm+no-projection", "ours-tpdm", "ours-small"),
        only_with=lambda one: one.method in CHANGES,
    ),
    "table_5_uncertainty": Page("Table 5. Uncertainty", _as_published(_sampled)),
    "table_6_second_data": Page("Table 6. A second data set", _second),
    "table_7_networks": Page("Tables 7, 9 to 11. Hyper-parameters and networks"),
    "table_8_cost": Page("Table 8. Time and memory", _method),
    "table_s1_significance": Page("Table S1. Is a fusion better than its average?", _fused),
    "table_s2_overview": Page("Table S2. Quality and cost at a glance", _method),
    "figure_1_method": Page("Figure 1. The method"),
    "figure_3_comparison": Page("Figure 3. Comparison", _method, ("split",)),
    "figure_4_second_data": Page("Figure 4. A second data set, seen", _second, ("second_split",)),
    "figure_5_7_recovery": Page("Figures 5 to 7. Dice and Recovery", _judged),
    "figure_8_13_segmentation": Page(
        "Figures 8 to 13. Tumours found",
        lambda one: is_judged(one.task) and (_sampled(one) or (_plain(one) and one.method == "degraded")),
        ("split", "subjects"),
        network=True,
        only_with=_sampled,
    ),
    "figure_14_19_uncertainty": Page("Figures 14 to 19. Spread and error", _sampled, ("split", "samples")),
    "figure_20_21_more": Page("Figures 20 and 21. More subjects", _sampled, ("split", "subjects")),
    "figure_s1_gates": Page(
        "Figure S1. Whom the fusion listens to",
        lambda one: _plain(one) and one.method == "ours-tpdm",
        ("split",),
        network=True,
    ),
    "figure_s2_steps": Page(
        "Figure S2. Quality against steps",
        lambda one: _swept(one) or _sampled(one),
        only_with=_swept,
    ),
    "figure_s3_calibration": Page("Figure S3. Calibration", _sampled, ("split", "samples", "subjects")),
    "figure_s4_training": Page("Figure S4. Training", _method),
    "figure_s5_leads": Page("Figure S5. Fusions against their averages", _fused),
}


def pages_of(plan: Plan) -> dict[str, Page]:
    """Those that a plan has something for."""

    def has_something(page: Page) -> bool:
        return page.needs is _nothing or bool(plan.needed(lambda one: page.needs(one) and page.only_with(one)))

    return {name: page for name, page in PAGES.items() if has_something(page)}
