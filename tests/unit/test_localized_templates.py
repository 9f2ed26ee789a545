"""A page in German writes 1,5 for people. What a browser reads as a number stays 1.5."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEMPLATES = sorted(path for path in ROOT.glob("*/**/templates/**/*.html") if ".venv" not in path.parts)
DRAWING = re.compile(r"<svg\b.*?</svg>", re.DOTALL)
NUMERIC_ATTRIBUTE = re.compile(r'\b(?:value|min|max|step|width|height|style|data-\w+)="[^"]*\{\{ *([^}]*?) *\}\}')
UNLOCALIZED = re.compile(r"\{% localize off %\}.*?\{% endlocalize %\}", re.DOTALL)
TEXTS = {"call", "code", "engine", "variant", "grafana_url"}


def find_localized_numbers(source):
    """Return the drawings with values, and the attributes that may be numbers, in which numbers are localized."""
    rest = UNLOCALIZED.sub("", source)
    drawings = [drawing for drawing in DRAWING.findall(rest) if "{{" in drawing]
    values = NUMERIC_ATTRIBUTE.findall(DRAWING.sub("", rest))
    return drawings + [value for value in values if "|stringformat" not in value and value not in TEXTS]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_number_that_a_browser_reads_is_localized(path):
    assert find_localized_numbers(path.read_text()) == []


def test_a_localized_number_is_found():
    drawing = '<svg><rect width="{{ width }}"/></svg>'
    assert find_localized_numbers(drawing) == [drawing]
    assert find_localized_numbers("{% localize off %}" + drawing + "{% endlocalize %}") == []
    assert find_localized_numbers('<meter value="{{ share }}">') == ["share"]
    assert find_localized_numbers("""<meter value="{{ share|stringformat:'.2f' }}"><b value="{{ code }}">""") == []
