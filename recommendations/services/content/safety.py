"""Classify the sensitivity of a post by its safety labels."""

from collections.abc import Mapping

from recommendations.contracts import Sensitivity

LIKELY_SCORE = 0.5
"""Minimum score at which a label counts."""
ADULT_LABELS = frozenset({"nudity", "sexual", "adult"})
FORBIDDEN_LABELS = frozenset({"csam", "terrorism"})
POSSIBLE_SCORE = 0.2
"""Minimum score of a forbidden label: serving a forbidden post is worse than dropping a harmless one."""


def classify_sensitivity(labels: Mapping[str, float]) -> Sensitivity:
    """Return the highest sensitivity of any label. A likely label without a class counts as sensitive."""
    if any(labels.get(name, 0) >= POSSIBLE_SCORE for name in FORBIDDEN_LABELS):
        return Sensitivity.FORBIDDEN
    likely = {name for name, score in labels.items() if score >= LIKELY_SCORE}
    if likely & ADULT_LABELS:
        return Sensitivity.ADULT
    return Sensitivity.SENSITIVE if likely else Sensitivity.SAFE
