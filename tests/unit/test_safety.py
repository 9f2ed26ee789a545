"""The sensitivity of a post by its safety labels, and the score from which each label counts."""

import pytest

from recommendations.contracts import Sensitivity
from recommendations.services.content.safety import classify_sensitivity


@pytest.mark.parametrize(
    ("labels", "sensitivity"),
    [
        ({}, Sensitivity.SAFE),
        ({"violence": 0.49}, Sensitivity.SAFE),
        ({"violence": 0.5}, Sensitivity.SENSITIVE),
        ({"an unknown label": 0.5}, Sensitivity.SENSITIVE),
        ({"nudity": 0.49}, Sensitivity.SAFE),
        ({"nudity": 0.5}, Sensitivity.ADULT),
        ({"sexual": 0.5}, Sensitivity.ADULT),
        ({"adult": 0.5, "violence": 0.9}, Sensitivity.ADULT),
        ({"csam": 0.19}, Sensitivity.SAFE),
        ({"csam": 0.2}, Sensitivity.FORBIDDEN),
        ({"terrorism": 0.2, "nudity": 0.9}, Sensitivity.FORBIDDEN),
        ({"csam": 0.19, "terrorism": 0.19, "nudity": 0.6}, Sensitivity.ADULT),
    ],
)
def test_the_most_sensitive_label_above_its_minimum_score_decides(labels, sensitivity):
    """A label counts from a score of 0.5, and a forbidden one from 0.2."""
    assert classify_sensitivity(labels) is sensitivity
