"""Sphinx reads this for the slides: one page of the staged sources, a slide for each heading."""

project = "Diffens"
extensions = ["myst_parser", "sphinx_revealjs"]
root_doc = "lecture"
include_patterns = ["lecture.md"]
myst_enable_extensions = ["dollarmath"]
smartquotes = False

revealjs_style_theme = "white"
revealjs_static_path = ["."]
revealjs_css_files = ["slides.css"]
html_copy_source = False
mathjax_path = "../../_static/mathjax/tex-chtml.js"  # the site's own copy
