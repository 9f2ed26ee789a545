"""
The names of models in the admin, in the language of the page. They are those that Django derives, or that `Meta` has.

`Meta` cannot have translated names without a migration for each model: migrations store its options. So the names are
replaced in the processes that show pages.
"""

from __future__ import annotations

from django.apps import apps
from django.utils.translation import gettext_lazy

from values.translation import translatable

NAMES: dict[str, tuple[str, str]] = {
    "recommendations.Post": (translatable("post"), translatable("posts")),
    "recommendations.PostStats": (translatable("post stats"), translatable("post stats")),
    "recommendations.RegionStats": (translatable("region stats"), translatable("region stats")),
    "recommendations.Member": (translatable("member"), translatable("members")),
    "recommendations.PrivacySettings": (translatable("privacy settings"), translatable("privacy settings")),
    "recommendations.Relationship": (translatable("relationship"), translatable("relationships")),
    "recommendations.Interaction": (translatable("interaction"), translatable("interactions")),
    "recommendations.NegativeFeedback": (translatable("negative feedback"), translatable("negative feedback")),
    "recommendations.SeenPost": (translatable("seen post"), translatable("seen posts")),
    "recommendations.Undo": (translatable("undo"), translatable("undos")),
    "recommendations.InterestProfile": (translatable("interest profile"), translatable("interest profiles")),
    "recommendations.ReactionHistory": (translatable("reaction history"), translatable("reaction histories")),
    "recommendations.DampedEngagement": (translatable("damped engagement"), translatable("damped engagement")),
    "recommendations.AuthorCrowd": (translatable("ring"), translatable("rings")),
    "recommendations.CrowdNewcomer": (translatable("member of a ring"), translatable("members of rings")),
    "recommendations.ErasureReceipt": (translatable("erasure receipt"), translatable("erasure receipts")),
    "recommendations.FeedRequest": (translatable("feed request"), translatable("feed requests")),
    "recommendations.ServedPage": (translatable("served page"), translatable("served pages")),
    "recommendations.RankingPolicy": (translatable("ranking policy"), translatable("ranking policies")),
    "recommendations.FeedHour": (translatable("feed hour"), translatable("feed hours")),
    "flags.Flag": (translatable("flag"), translatable("flags")),
    "flags.Experiment": (translatable("experiment"), translatable("experiments")),
    "flags.RolloutPlan": (translatable("rollout plan"), translatable("rollout plans")),
    "flags.Segment": (translatable("segment"), translatable("segments")),
    "flags.PendingChange": (translatable("pending change"), translatable("pending changes")),
    "flags.FlagChange": (translatable("flag change"), translatable("flag changes")),
    "flags.Metric": (translatable("metric"), translatable("metrics")),
    "flags.ExclusionGroup": (translatable("exclusion group"), translatable("exclusion groups")),
    "flags.Holdout": (translatable("holdout"), translatable("holdouts")),
    "recommendations.TrainedModel": (translatable("trained model"), translatable("trained models")),
    "recommendations.Evaluation": (translatable("evaluation"), translatable("evaluations")),
    "recommendations.EmbeddingModel": (translatable("embedding model"), translatable("embedding models")),
    "recommendations.EmbeddingFailure": (translatable("embedding failure"), translatable("embedding failures")),
    "recommendations.Job": (translatable("job"), translatable("jobs")),
    "recommendations.JobFailure": (translatable("job failure"), translatable("job failures")),
    "recommendations.ImportCheckpoint": (translatable("import checkpoint"), translatable("import checkpoints")),
    "monitoring.Alert": (translatable("alert"), translatable("alerts")),
    "monitoring.AlertRule": (translatable("alert rule"), translatable("alert rules")),
    "monitoring.Silence": (translatable("silence"), translatable("silences")),
    "access.UsageAlert": (translatable("usage alert"), translatable("usage alerts")),
    "access.ApiKey": (translatable("API key"), translatable("API keys")),
    "recommendations.PostEmbedding": (translatable("post embedding"), translatable("post embeddings")),
    "recommendations.CoLikes": (translatable("co likes"), translatable("co-likes")),
    "recommendations.HistoryChange": (translatable("history change"), translatable("history changes")),
    "recommendations.TrainedModelBlock": (translatable("trained model block"), translatable("trained model blocks")),
    "recommendations.FeedInputs": (translatable("feed inputs"), translatable("feed inputs")),
    "recommendations.JobChunk": (translatable("job chunk"), translatable("job chunks")),
    "recommendations.JobFile": (translatable("job file"), translatable("job files")),
    "recommendations.ErasedPost": (translatable("erased post"), translatable("erased posts")),
    "recommendations.ChangeLogEntry": (translatable("change log entry"), translatable("change log entries")),
    "recommendations.ChangeLogMark": (translatable("change log mark"), translatable("change log marks")),
    "recommendations.ChangeLogTruncation": (
        translatable("change log truncation"),
        translatable("change log truncations"),
    ),
    "monitoring.MaintenanceTask": (translatable("maintenance task"), translatable("maintenance tasks")),
    "monitoring.MaintenanceRun": (translatable("maintenance run"), translatable("maintenance runs")),
}
"""By the label of the model: its name, and the name of several."""


def translate_model_names() -> None:
    """Replace the names of the models by names that are translated where they are shown."""
    for model in apps.get_models():
        if names := NAMES.get(model._meta.label):
            model._meta.verbose_name, model._meta.verbose_name_plural = map(gettext_lazy, names)
