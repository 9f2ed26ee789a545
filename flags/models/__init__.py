"""The rows of flags and experiments."""

from flags.models.append_only import (
    KeptForEverError,
)
from flags.models.changes import (
    FlagChange,
    PayloadVersion,
    PendingChange,
    Subject,
)
from flags.models.experiments import (
    ExclusionGroup,
    Experiment,
    Exposure,
    Holdout,
    Metric,
    Phase,
    Result,
    Snapshot,
    Variant,
)
from flags.models.flags import (
    Flag,
    FlagVariant,
    Prerequisite,
    Rule,
)
from flags.models.plans import (
    Guardrail,
    RolloutPhase,
    RolloutPlan,
)
from flags.models.segments import (
    Condition,
    Segment,
)

__all__ = [
    "Condition",
    "ExclusionGroup",
    "Experiment",
    "Exposure",
    "Flag",
    "FlagChange",
    "FlagVariant",
    "Guardrail",
    "Holdout",
    "KeptForEverError",
    "Metric",
    "PayloadVersion",
    "PendingChange",
    "Phase",
    "Prerequisite",
    "Result",
    "RolloutPhase",
    "RolloutPlan",
    "Rule",
    "Segment",
    "Snapshot",
    "Subject",
    "Variant",
]
