"""Sphinx reads this. Nothing in it needs a network: MathJax comes from an installed package."""

import re
from importlib.metadata import version as version_of
from importlib.util import find_spec

project = "Diffens"
author = copyright = "The Diffens contributors"
version = release = version_of("diffens")
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.linkcode", "sphinx_reredirects"]
exclude_patterns = ["lecture.md"]

# Notebooks come executed (`executed.py`); widgets would need scripts from elsewhere.
nb_execution_mode = "off"
nb_ipywidgets_js = {}
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
smartquotes = False
highlight_language = "none"  # what names no language is a command line or what one prints

# Docstrings are plain text with names in single backticks.
default_role = "code"
autodoc_default_options = {"members": True, "member-order": "bysource", "show-inheritance": True}
autodoc_typehints = "signature"
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100

html_theme = "furo"
html_title = "Diffens"
html_static_path = [
    "static",
    *(f"{folder}/static" for folder in find_spec("sphinx-mathjax-offline").submodule_search_locations),
]
mathjax_path = "mathjax/tex-chtml.js"
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_copy_source = html_show_sourcelink = False
html_theme_options = {
    "source_repository": "https://github.com/diffens/diffens/",
    "footer_icons": [],
    "top_of_page_buttons": [],
}

# Notebooks as they were named before they were put in the order of the path.
redirects = {
    "notebooks/01_data": "04_data.html",
    "notebooks/02_train_2d": "05_train_2d.html",
    "notebooks/03_train_fusion": "06_train_fusion.html",
    "notebooks/04_translate": "07_translate.html",
    "notebooks/05_experts_and_averages": "08_experts_and_averages.html",
    "notebooks/06_multimodality": "09_multimodality.html",
    "notebooks/07_baselines": "10_baselines.html",
    "notebooks/08_make_a_volume": "11_make_a_volume.html",
    "notebooks/09_theory": "03_theory.html",
    "notebooks/10_evaluate": "12_evaluate.html",
    "notebooks/11_uncertainty": "13_uncertainty.html",
    "notebooks/12_segmentation": "14_segmentation.html",
}


def plain_text(app, what, name, obj, options, lines: list[str]) -> None:
    """Docstrings are no markup but for `names`: what would be is escaped, and paragraphs with indents or columns stay
    as they are. What Python says of a named tuple's fields is left out.
    """
    lines[:] = [line for line in lines if not line.startswith("Alias for field number")]
    paragraphs = "\n".join(lines).strip("\n").split("\n\n")
    lines[:] = "\n\n".join(map(_as_restructured_text, paragraphs)).split("\n") + [""]


def _as_restructured_text(paragraph: str) -> str:
    if re.search(r"^\s|\S {2,}\S", paragraph, re.MULTILINE):
        return "::\n\n" + re.sub(r"^", "    ", paragraph, flags=re.MULTILINE)
    parts = paragraph.split("`")
    if len(parts) % 2 == 0:  # a single one is no pair
        parts = ["\\`".join(parts)]
    parts[::2] = [re.sub(r"([*|_])", r"\\\1", part) for part in parts[::2]]
    parts[2::2] = [re.sub(r"^(?=\S)", r"\\ ", part) for part in parts[2::2]]  # a mark ends at a blank, and this is none
    return "`".join(parts)


def linkcode_resolve(domain: str, info: dict[str, str]) -> str:
    """Where the source of a module is to be read."""
    return f"https://github.com/diffens/diffens/blob/main/{info['module'].replace('.', '/')}.py"


def setup(app) -> None:
    """What Sphinx calls."""
    app.connect("autodoc-process-docstring", plain_text)
