"""How sensitive a post is, from its safety labels."""

from collections.abc import Mapping

from recommendations.contracts import Sensitivity

LIKELY_SCORE = 0.5
"""From this score on a label counts."""
ADULT_LABELS = frozenset({"nudity", "sexual", "adult"})
FORBIDDEN_LABELS = frozenset({"csam", "terrorism"})
POSSIBLE_SCORE = 0.2
"""A forbidden label counts from here on: one missed weighs more than one shown to nobody by mistake."""


def classify_sensitivity(labels: Mapping[str, float]) -> Sensitivity:
    """Return the highest sensitivity that any label gives; a likely label that we don't know is sensitive."""
    if any(labels.get(name, 0) >= POSSIBLE_SCORE for name in FORBIDDEN_LABELS):
        return Sensitivity.FORBIDDEN
    likely = {name for name, score in labels.items() if score >= LIKELY_SCORE}
    if likely & ADULT_LABELS:
        return Sensitivity.ADULT
    return Sensitivity.SENSITIVE if likely else Sensitivity.SAFE
