"""The rows of flags and experiments."""

from flags.models.append_only import (
    AppendOnlyError,
)
from flags.models.changes import (
    ChangeSubject,
    FlagChange,
    PayloadVersion,
    PendingChange,
)
from flags.models.experiments import (
    ExclusionGroup,
    Experiment,
    ExperimentPhase,
    ExperimentResult,
    ExperimentVariant,
    Exposure,
    Holdout,
    InterimAnalysis,
    Metric,
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
    "AppendOnlyError",
    "ChangeSubject",
    "Condition",
    "ExclusionGroup",
    "Experiment",
    "ExperimentPhase",
    "ExperimentResult",
    "ExperimentVariant",
    "Exposure",
    "Flag",
    "FlagChange",
    "FlagVariant",
    "Guardrail",
    "Holdout",
    "InterimAnalysis",
    "Metric",
    "PayloadVersion",
    "PendingChange",
    "Prerequisite",
    "RolloutPhase",
    "RolloutPlan",
    "Rule",
    "Segment",
]
