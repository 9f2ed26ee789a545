"""
The quality of the feeds on the sample: each member's last liked film is held out, and the full catalogue is ranked.

The bands are wide, so that they catch a fault and not noise: a standard error of a hit rate is .01. docs/evaluation.md
describes the protocol.
"""

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

SAMPLE = Path(__file__).parents[2] / "recommendations" / "sample" / "movielens"


@pytest.mark.django_db
def test_feeds_on_the_sample_are_level_with_simple_methods_or_better(tmp_path):
    """In one test, because one run of the whole pipeline gives all figures."""
    options = {"files": SAMPLE, "format": "movielens", "feed": ["discovery", "trending"], "quick": True}
    call_command("evaluate", **options, json=tmp_path / "report.json", stdout=StringIO(), stderr=StringIO())
    (report,) = json.loads((tmp_path / "report.json").read_text())["sets"]
    figures = {
        system["name"]: {name: figure["value"] for name, figure in system["figures"].items()}
        for system in report["systems"]
    }
    discovery, trending = figures["discovery"], figures["trending"]
    assert discovery["hit_rate"] > max(0.12, figures["EASE"]["hit_rate"], figures["item neighbors"]["hit_rate"])
    assert discovery["ndcg"] > 0.06
    assert trending["hit_rate"] > figures["popularity"]["hit_rate"] - 0.015
    assert discovery["known"] == trending["known"] == 0
    assert discovery["coverage"] > max(0.12, 3 * figures["popularity"]["coverage"])
