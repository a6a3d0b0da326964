"""Sphinx configuration: `sphinx-build -W -b html docs docs/_build/html`, offline."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_extensions")]
sys.path.append(str(HERE.parent / "benchmarks"))  # reads the tables that stand there

import mtlearn

project = "mtlearn"
author = "The mtlearn developers"
copyright = f"2026, {author}"
version = release = mtlearn.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "matplotlib.sphinxext.plot_directive",
    "myst_parser",  # of the changelog
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "gallery_picture",
    "mathml",
    "report_page",
    "results",
]
templates_path = ["_templates"]
html_static_path = ["_static"]
html_css_files = ["mtlearn.css"]
html_math_renderer = "mathml"
exclude_patterns = ["_build", "_extensions", "code", "gallery"]
default_role = "literal"  # `X` in a docstring is code

# API pages: autosummary writes one page per name (_templates), numpydoc reads it.
autosummary_generate = True
autodoc_member_order = "groupwise"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("mtlearn",),
    "filename_pattern": "plot_",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,  # a page that loads scripts from elsewhere
    "remove_config_comments": True,
}

# Pictures of the guide, from docs/code.
plot_basedir = str(HERE)
plot_formats = [("png", 150)]
plot_html_show_formats = plot_html_show_source_link = False

html_theme = "pydata_sphinx_theme"
html_title = "mtlearn"
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "mtlearn"},
    "header_links_before_dropdown": 7,
    "navbar_persistent": ["search-button"],
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
}
# Pages at the top have nothing to navigate in; only those in folders get the column.
html_sidebars = {"*": []}
