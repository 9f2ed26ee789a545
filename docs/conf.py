"""
Builds the documentation's site with Sphinx. `make docs` writes it to var/site/docs, which the service serves at /docs/.

The pages are the Markdown files of this folder, which can be read without the site too. A page that is missing from
`index.rst`, or a link to a page or a heading that does not exist, fails the build.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

project = "recsys"
author = "The recsys developers"
html_title = "recsys documentation"
extensions = ["myst_parser", "sphinx_copybutton"]
templates_path = ["_templates"]
html_static_path = ["_static"]
myst_heading_anchors = 4
html_theme = "furo"
html_theme_options = {"navigation_with_keys": True}
html_copy_source = False
html_show_sphinx = False
copybutton_exclude = ".linenos, .gp, .go"
highlight_language = "none"


def setup(app: Sphinx) -> None:
    """Register the hook of this file with Sphinx."""
    app.connect("source-read", replace_links_out_of_the_site)


def replace_links_out_of_the_site(app: Sphinx, page: str, source: list[str]) -> None:
    """Replace each link to a file outside this folder, such as `../SECURITY.md`, by its text."""

    def replace(link: re.Match[str]) -> str:
        file = (app.srcdir / page).parent / link["file"]
        return link[0] if file.resolve().is_relative_to(Path(app.srcdir)) else link["text"]

    source[0] = re.sub(r"\[(?P<text>[^\]]+)\]\((?P<file>\.\./[^)#]+)[^)]*\)", replace, source[0])
