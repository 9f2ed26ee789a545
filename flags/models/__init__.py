"""The rows of flags and experiments."""

from flags.models.experiments import (
    ExclusionGroup,
    Experiment,
    ExperimentChange,
    Exposure,
    Holdout,
    KeptForEverError,
    Metric,
    Phase,
    Result,
    Snapshot,
    Variant,
)
from flags.models.flags import Flag

__all__ = [
    "ExclusionGroup",
    "Experiment",
    "ExperimentChange",
    "Exposure",
    "Flag",
    "Holdout",
    "KeptForEverError",
    "Metric",
    "Phase",
    "Result",
    "Snapshot",
    "Variant",
]
