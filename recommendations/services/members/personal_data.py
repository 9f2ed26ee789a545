"""
The one list of every place that may hold a member's data.

Erasure (`erasure.py`), export (`export.py`), `manage.py verify_erasure` (`traces.py`) and docs/personal-data.md read
it. A test demands an entry for each table, also for those of other packages, and a kind for each column. To store
something new, add it here: the erasure then deletes it, or the test that plants a member in every place fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from django.apps import apps
from django.db import models


class Pii(StrEnum):
    """What a column says about a member."""

    NONE = "none"
    """Nothing."""
    MEMBER_ID = "id of a member"
    """The platform's id of a member."""
    MEMBER_KEY = "number of a member"
    """The database id of a member, which refers to nothing once the member is erased."""
    PROFILE = "profile"
    """What a member is or chose: language, region, birth year, settings."""
    CONTENT = "content"
    """What a member wrote or uploaded, and what is derived from it, such as its vector."""
    ACTIVITY = "activity"
    """What a member did or was served, and what was learned from it."""
    SUM = "sum"
    """A sum over members, without their ids."""
    TEXT = "text"
    """Text or values that staff or a platform chose. They may name a member."""
    STAFF = "staff"
    """Data of a user of the admin, who is not a member."""


Columns = Mapping[str, Pii]


def columns(**names: str) -> dict[str, Pii]:
    """Return the kind of each column. Each argument is a kind of `Pii`, in small letters, with its columns' names."""
    return {name: Pii[kind.upper()] for kind, text in names.items() for name in text.split()}


@dataclass(frozen=True)
class Table:
    """A table, and the kind of each of its columns."""

    columns: Columns
    owner: str = ""
    """Look-up of the member whose rows these are. Their rows are deleted with the member. Empty: nobody's."""
    kept_until: str = "the platform or staff delete it"
    is_append_only: bool = False
    """Whether triggers refuse every change of a row. The erasure cannot remove a name from its texts."""
    export: str = ""
    """Key of the rows in the member's export. Empty: the export's `member` or another key has them, or nobody's."""


ERASED = "the member is erased"
WITH_POST = "the post or the member is erased"
RETENTION = "SERVED_RETENTION_DAYS, or the member is erased"
INTERACTION_RETENTION = "INTERACTION_RETENTION_DAYS"

TABLES: dict[str, Table] = {
    # Members and what they write
    "recommendations.Member": Table(
        columns(
            none="is_active created_at changed_at",
            member_key="id",
            member_id="external_id",
            profile="languages region birth_year is_adult interests_reset_at",
        ),
        owner="pk", kept_until=ERASED, export="member",
    ),
    "recommendations.PrivacySettings": Table(
        columns(
            none="changed_at",
            member_key="member",
            profile="is_private is_personalized sensitivity muted_words muted_tags interest_tags",
        ),
        owner="member", kept_until=ERASED, export="privacy_settings",
    ),
    "recommendations.Relationship": Table(
        columns(none="id", member_key="source target", activity="kind created_at"),
        owner="source", kept_until="it is deleted, or either member is erased", export="relationships",
    ),
    "recommendations.Post": Table(
        columns(
            none="id changed_at",
            member_key="author",
            content="external_id text media kind language tags created_at visibility safety_labels sensitivity "
            "removed_at",
        ),
        owner="author", kept_until=WITH_POST, export="posts",
    ),
    "recommendations.PostEmbedding": Table(
        columns(none="id space embedding_model dimension version changed_at", content="post vector"),
        owner="post__author", kept_until="the text changes, its model is archived, or the post is erased",
    ),
    "recommendations.EmbeddingFailure": Table(
        columns(none="id space embedding_model attempts error retry_at changed_at", content="post"),
        owner="post__author", kept_until="the post is embedded or erased",
    ),
    "recommendations.ErasedPost": Table(
        columns(none="post_id erased_at is_indexed"), kept_until="seven days after the erasure",
    ),
    # What members do
    "recommendations.Interaction": Table(
        columns(
            none="sender id received_at is_learned is_ignored",
            member_key="member",
            activity="event_id post kind value occurred_at target request_id undone_at",
        ),
        owner="member", kept_until=f"{INTERACTION_RETENTION}, or {WITH_POST}", export="interactions",
    ),
    "recommendations.Undo": Table(
        columns(none="id sender", member_key="member", activity="event_id undoes_event_id received_at"),
        owner="member", kept_until=f"{INTERACTION_RETENTION}, or {ERASED}", export="undos",
    ),
    "recommendations.NegativeFeedback": Table(
        columns(none="id sender", member_key="member", activity="target target_key post event_id created_at"),
        owner="member",
        kept_until=f"it is undone or reset, {INTERACTION_RETENTION} unless it is on a post itself, or {WITH_POST}",
        export="negative_feedback",
    ),
    "recommendations.SeenPost": Table(
        columns(none="id", member_key="member", activity="post seen_at"),
        owner="member", kept_until="SEEN_RETENTION_DAYS without an interaction, or the post or the member is erased",
        export="seen",
    ),
    "recommendations.DampedEngagement": Table(
        columns(none="id changed_at", member_key="member author", activity="post day given counted"),
        owner="member", kept_until="SERVED_RETENTION_DAYS, or the post or either member is erased",
        export="damped_engagement",
    ),
    "recommendations.AuthorCrowd": Table(
        columns(none="id changed_at day", member_key="author", sum="newcomers others share"),
        owner="author", kept_until="SERVED_RETENTION_DAYS, or the author is erased", export="crowds",
    ),
    "recommendations.CrowdNewcomer": Table(
        columns(none="id changed_at", member_key="member author", activity="day share"),
        owner="member",
        kept_until="a week, as long as the interaction with a share below 1, or either member is erased",
        export="rings",
    ),
    # What is learned from it
    "recommendations.InterestProfile": Table(
        columns(
            none="embedding_model dimension changed_at",
            member_key="member",
            activity="positive positive_mass negative negative_mass session session_at affinities reference_at "
            "interaction_count",
        ),
        owner="member", kept_until="reset, consent withdrawn, or erased", export="interests",
    ),
    "recommendations.ReactionHistory": Table(
        columns(member_key="member", activity="reactions reacted_at"),
        owner="member", kept_until="reset, consent withdrawn, or erased", export="reactions",
    ),
    "recommendations.HistoryChange": Table(
        columns(none="id", activity="before after"), kept_until="it is counted, within a minute",
    ),
    "recommendations.SeenReport": Table(columns(none="id post_id"), kept_until="it is counted, within a minute"),
    "recommendations.CoLikes": Table(
        columns(none="post_id changed_at", sum="like_count target_ids together after nearest"),
        kept_until="no member likes the post, or the post is erased",
    ),
    "recommendations.PostStats": Table(
        columns(
            none="post summed_at changed_at",
            sum="hour_sum day_sum week_sum year_sum total_sum interaction_count positive_count served_count seen_count",
        ),
        kept_until="the post is erased",
    ),
    "recommendations.RegionStats": Table(
        columns(
            none="id post region summed_at changed_at", sum="hour_sum day_sum week_sum year_sum total_sum",
        ),
        kept_until="the post, or the last member of the region, is erased",
    ),
    "recommendations.TrainedModel": Table(
        columns(
            none="id kind state parent settings seed arrays size_bytes problem created_at trained_at activated_at "
            "retired_at",
            sum="data_from data_until member_count post_count like_count metrics scales reaction_count",
        ),
        kept_until="always: a few numbers for each training",
    ),
    "recommendations.TrainedModelBlock": Table(
        columns(none="id model name position", sum="data"),
        kept_until="a newer model replaces it twice, or a member of it is erased (48 hours at most)",
    ),
    # What members are served
    "recommendations.ServedPage": Table(
        columns(none="id offset", member_key="member", activity="request_id post_ids created_at"),
        owner="member", kept_until=RETENTION, export="served_pages",
    ),
    "recommendations.FeedRequest": Table(
        columns(
            none="feed engine policy_version fallback candidate_count duration_ms part_names trained_model_id",
            member_key="member",
            activity="id variant post_ids parts contributions origins reasons created_at",
        ),
        owner="member", kept_until=RETENTION, export="feed_requests",
    ),
    "recommendations.FeedInputs": Table(
        columns(none="created_at", activity="request packed_inputs"),
        owner="request__member", kept_until="some days, a reset, or the member is erased",
    ),
    "recommendations.FeedHour": Table(
        columns(
            none="id hour feed engine variant p50_ms p95_ms",
            sum="slate_count fallback_count empty_count page_count served_count engagement_count",
        ),
        kept_until="400 days",
    ),
    "recommendations.Evaluation": Table(
        columns(
            none="id split best_peer policies release seconds created_at",
            sum="case_count member_count quality_score report",
        ),
        kept_until="400 days: results only",
    ),
    # Work
    "recommendations.Job": Table(
        columns(
            none="id kind state priority deadline is_expired idempotency_hash total done failed created_at started_at "
            "finished_at cancel_requested_at",
            text="params errors result",
        ),
        kept_until="SERVED_RETENTION_DAYS; the erasure removes ids from it",
    ),
    "recommendations.JobChunk": Table(
        columns(
            none="id job number state priority slot publications lost_after attempts claim_id leased_until",
            member_key="item_ids",
            text="error",
        ),
        kept_until="its job is deleted",
    ),
    "recommendations.JobFailure": Table(
        columns(none="id job failed_at", member_key="item_id", text="problem"),
        kept_until="its item is retried or its job is deleted",
    ),
    "recommendations.JobFile": Table(
        columns(none="id job created_at", member_key="member", activity="content"),
        owner="member", kept_until="seven days, or the member or someone that it names is erased",
    ),
    "recommendations.ErasureReceipt": Table(
        columns(
            none="id member_hash sealed_member_id job_id requested_at erased_at models_due_at forgotten_model_ids "
            "active_model_id active_model_since finished_at",
            member_key="member_number",
            text="requested_by",
            sum="counts",
        ),
        kept_until="always: the proof of the erasure, without the member's id",
    ),
    "recommendations.ImportCheckpoint": Table(
        columns(none="id kind sha256 offset line errors_size created updated unchanged rejected started_at finished_at")
    ),
    "recommendations.ChangeLogEntry": Table(
        columns(none="id kind position", member_key="row_id"), kept_until="some minutes",
    ),
    "recommendations.ChangeLogMark": Table(columns(none="id position recorded_at")),
    "recommendations.ChangeLogTruncation": Table(columns(none="id position")),
    # Settings of the service
    "recommendations.EmbeddingModel": Table(
        columns(
            none="id space name embedder option dimension state embedded_count post_count indexed_until created_at "
            "activated_at changed_at"
        )
    ),
    "recommendations.RankingPolicy": Table(
        columns(none="id variant version settings is_active created_at", text="note")
    ),
    # Flags and experiments
    "flags.Exposure": Table(
        columns(none="id", member_id="unit_id", activity="phase experiment variant propensity exposed_at"),
        kept_until="SERVED_RETENTION_DAYS after the end of the experiment, or the member is erased",
        export="experiments",
    ),
    "flags.Segment": Table(
        columns(none="id key match changed_at", member_id="allowed_ids denied_ids", text="description"),
        export="segments",
    ),
    "flags.Condition": Table(columns(none="id segment position attribute operator", text="values")),
    "flags.Flag": Table(
        columns(
            none="id key kind is_enabled rollout_percentage starts_at ends_at tags expires_at needs_approval "
            "is_archived version changed_at",
            text="description on_value default_value off_value owner",
        )
    ),
    "flags.FlagVariant": Table(columns(none="id flag position name weight", text="value")),
    "flags.Rule": Table(columns(none="id flag position segment percentage serves", text="note")),
    "flags.Prerequisite": Table(columns(none="id flag required_flag", text="value")),
    "flags.FlagChange": Table(
        columns(
            none="id subject key changed_at system action", staff="user approved_by", text="why before after evidence"
        ),
        is_append_only=True, kept_until="always: append-only. Ids on the lists of segments are masked in it",
    ),
    "flags.PendingChange": Table(
        columns(
            none="id subject key flag action requested_at requested_by_system flag_version state decided_at",
            staff="requested_by decided_by",
            text="patch why",
        )
    ),
    "flags.PayloadVersion": Table(columns(none="id token")),
    "flags.ExclusionGroup": Table(columns(none="id key", text="description")),
    "flags.Holdout": Table(columns(none="id key percentage", text="description")),
    "flags.Metric": Table(
        columns(
            none="id key kind source numerator denominator window_days prior_days higher_is_better is_guardrail "
            "tolerance",
            text="description",
        )
    ),
    "flags.Experiment_metrics": Table(columns(none="id experiment metric")),
    "flags.Experiment": Table(
        columns(
            none="id key flag unit traffic_percentage group slot_from slot_to holdout is_sticky goal minimum_effect "
            "is_bandit bandit_floor state decision started_at finished_at changed_at",
            text="hypothesis decision_reason",
        )
    ),
    "flags.ExperimentVariant": Table(columns(none="id experiment key weight is_control", text="value config")),
    "flags.ExperimentPhase": Table(columns(none="id experiment number seed traffic variants started_at ended_at")),
    "flags.InterimAnalysis": Table(
        columns(
            none="id experiment phase_number analyzed_at duration_seconds days_left needed_units sample_ratio_p",
            sum="units daily_units",
        )
    ),
    "flags.ExperimentResult": Table(
        columns(
            none="id interim_analysis metric variant slice_label verdict",
            sum="control_units units control_mean mean difference fixed_low fixed_high fixed_p anytime_low "
            "anytime_high anytime_p adjusted_p lift lift_low lift_high chance_better expected_loss "
            "remaining_variance_ratio",
        )
    ),
    "flags.RolloutPlan": Table(
        columns(none="id key flag state phase phase_started_at changed_at", text="description")
    ),
    "flags.RolloutPhase": Table(columns(none="id plan position percentage hours", text="note")),
    "flags.Guardrail": Table(
        columns(none="id plan position gauge variant bound threshold window_minutes min_samples on_breach")
    ),
    # Access and monitoring
    "access.ApiKey": Table(
        columns(
            none="id prefix scopes per_minute expires_at revoked_at secret_hash old_secret_hash old_secret_expires_at "
            "rotated_at last_used_at created_at",
            staff="created_by",
            text="name",
        )
    ),
    "access.UsageAlert": Table(
        columns(none="id kind caller key hour raised_at count baseline is_reviewed"),
        kept_until="400 days. A member is a keyed hash in it",
    ),
    "monitoring.AlertRule": Table(
        columns(
            none="id name metric labels comparison threshold clears_at for_seconds severity is_enabled", text="advice"
        )
    ),
    "monitoring.Alert": Table(
        columns(
            none="id key rule name severity state value labels began_at fired_at resolved_at acknowledged_at",
            staff="acknowledged_by",
            text="summary facts note",
        ),
        kept_until="SERVED_RETENTION_DAYS",
    ),
    "monitoring.Silence": Table(
        columns(none="id rule_name severity starts_at ends_at", staff="created_by", text="reason")
    ),
    "monitoring.Notice": Table(
        columns(none="id alert channel event state attempts due_at sent_at", text="error"),
        kept_until="its alert is deleted",
    ),
    "monitoring.MaintenanceTask": Table(columns(none="id name claimed_at is_running")),
    "monitoring.MaintenanceRun": Table(
        columns(none="id name started_at seconds rows bytes outcome", text="note error"),
        kept_until="SERVED_RETENTION_DAYS",
    ),
    # Tables of Django
    "admin.LogEntry": Table(
        columns(
            none="id action_time content_type action_flag",
            staff="user",
            member_key="object_id",
            text="object_repr change_message",
        ),
        kept_until="staff delete it; the erasure removes the names of the member and of their posts",
    ),
    "auth.Permission": Table(columns(none="id name content_type codename")),
    "auth.Group": Table(columns(none="id name")),
    "auth.Group_permissions": Table(columns(none="id group permission")),
    "auth.User": Table(
        columns(
            staff="id password last_login is_superuser username first_name last_name email is_staff is_active "
            "date_joined"
        )
    ),
    "auth.User_groups": Table(columns(none="id group", staff="user")),
    "auth.User_user_permissions": Table(columns(none="id permission", staff="user")),
    "contenttypes.ContentType": Table(columns(none="id app_label model")),
    # Sign-in of staff
    "account.EmailAddress": Table(columns(none="id verified primary", staff="user email")),
    "account.EmailConfirmation": Table(columns(none="id created sent key", staff="email_address")),
    "mfa.Authenticator": Table(
        columns(none="id type created_at last_used_at", staff="user data"), kept_until="the user removes the device",
    ),
    "axes.AccessAttempt": Table(
        columns(
            none="id http_accept path_info attempt_time failures_since_start",
            staff="user_agent ip_address username get_data post_data",
        ),
        kept_until="15 minutes, and someone signs in again",
    ),
    "axes.AccessAttemptExpiration": Table(columns(none="access_attempt expires_at")),
    "axes.AccessFailureLog": Table(
        columns(
            none="id http_accept path_info attempt_time locked_out", staff="user_agent ip_address username"
        ),
        kept_until="never written",
    ),
    "axes.AccessLog": Table(
        columns(
            none="id http_accept path_info attempt_time logout_time session_hash",
            staff="user_agent ip_address username",
        ),
        kept_until="never written",
    ),
    "sessions.Session": Table(
        columns(none="session_key expire_date", staff="session_data"), kept_until="the session expires",
    ),
}  # fmt: skip
"""By the label of the model. Celery stores no results, and its tasks are in Redis."""

TABLES_WITHOUT_MODEL = {"django_migrations": "names of migrations"}


@dataclass(frozen=True)
class Place:
    """A place outside of the database."""

    name: str
    holds: str
    kept_until: str


REDIS_PLACES = {
    "recsys:slates:": Place("slates", "ranked posts of a member, encrypted", "two days, a change, or an erasure"),
    "recsys:served:waiting": Place("waiting records", "pages being recorded, encrypted", "a worker writes them"),
    "recsys:served:batch": Place("records being written", "pages being recorded, encrypted", "they are written"),
    "recsys:served:writing": Place(
        "records of earlier versions", "pages being recorded, encrypted", "they are written"
    ),
    "recsys:served:aside": Place(
        "records of another version", "pages being recorded, encrypted", "they are written, at most a week"
    ),
    "recsys:served:lease:": Place("leases of workers", "nothing of members", "a minute"),
    "recsys:served:": Place("served posts", "posts that a member was served recently", "two days, or an erasure"),
    "recsys:neighbors:": Place("neighbors", "posts near a vector, encrypted; no member", "an hour"),
    "recsys:vectors:": Place("vectors", "vectors of posts", "an hour, a change, or an erasure"),
    "recsys:limits:": Place("rate limits", "counts by keyed hashes of callers", "two minutes"),
    "recsys:usage:": Place("usage", "counts by keyed hashes of callers", "some hours"),
    "recsys:monitoring:": Place("samples and heartbeats", "numbers of processes; no member", "a day"),
    "recsys:redbeat:": Place("schedule", "times of tasks; no member", "always"),
    "recsys:django:": Place("Django's cache", "nothing of members", "its time to live"),
    "recsys:_kombu": Place("queues", "names of queues; no member", "always"),
    "recsys:unacked": Place("tasks in progress", "database ids of members and posts", "the task has ended"),
    "recsys:": Place("tasks", "database ids of members and posts that a task is about", "a worker takes the task"),
}
"""By the first characters of the keys; the first match counts. Both Redis servers, with the queues of Celery."""

FILE_PLACES = {
    "MODEL_DIR": Place("model files", "sums over members: the arrays of trained models", "as `TrainedModelBlock`"),
    "EMBEDDINGS_ARCHIVE_DIR": Place(
        "vector archive", "ids and vectors of posts", "an erasure of the post rewrites the file"
    ),
}
"""By the setting of the folder."""

OTHER_PLACES = (
    Place("Qdrant", "vectors of posts, numbers of their authors, language", "the post is removed or erased"),
    Place("memory of processes", "facts, interests, vectors and pages in use", "the change log evicts them in seconds"),
    Place(
        "memory of processes, answers of flags",
        "ids of members, and what the flags answered",
        "a flag changes, 20,000 others were used later, or the process ends",
    ),
    Place("logs and metrics", "numbers only", "the operator deletes them"),
    Place("temporary folder of an evaluation", "interactions under database ids", "the evaluation ends"),
    Place("files of an import, and its rejected rows", "what the platform sent", "the operator deletes them"),
    Place("backups", "everything", "the operator deletes them"),
)
QDRANT, REDIS, MODELS, ARCHIVE = "qdrant", "redis", "trained models", "vector archive"


def list_models() -> dict[str, type[models.Model]]:
    """Return every model by its label, also those of other packages and of many-to-many relations."""
    return {model._meta.label: model for model in apps.get_models(include_auto_created=True)}


def text_columns() -> dict[type[models.Model], list[str]]:
    """Return, by model, the columns in which the erasure looks for the member's id and replaces it."""
    models_by_label = list_models()
    return {
        models_by_label[label]: names
        for label, table in TABLES.items()
        if not table.is_append_only and (names := [name for name, kind in table.columns.items() if kind is Pii.TEXT])
    }


INTRODUCTION = """# Places that may hold personal data

The output of `manage.py print_personal_data`. The list is in `recommendations/services/members/personal_data.py`, which
says what the kinds of columns mean. The erasure and `manage.py verify_erasure` read the same list.
[privacy.md](privacy.md) describes retention, export and erasure.
"""


def describe_places() -> str:
    """Return the list as a page of Markdown."""
    tables = [describe_table(label, table) for label, table in TABLES.items()]
    tables += [(f"`{name}`", f"none: {text}", "–", "") for name, text in TABLES_WITHOUT_MODEL.items()]
    keys = [(f"`{prefix}…` ({place.name})", place.holds, place.kept_until) for prefix, place in REDIS_PLACES.items()]
    folders = [(f"`{name}` ({place.name})", place.holds, place.kept_until) for name, place in FILE_PLACES.items()]
    others = [(place.name, place.holds, place.kept_until) for place in OTHER_PLACES]
    return "\n".join(
        (
            INTRODUCTION,
            "## Tables\n",
            *markdown_table(("table", "columns by kind", "until", "in the export"), tables),
            "\n## Redis\n",
            *markdown_table(("keys", "holds", "until"), keys),
            "\n## Files and other places\n",
            *markdown_table(("place", "holds", "until"), folders + others),
        )
    )


def describe_table(label: str, table: Table) -> tuple[str, ...]:
    """Return the row of a table: its name, its columns with personal data, how long it is kept, and its export."""
    kinds = [kind for kind in Pii if kind is not Pii.NONE and kind in table.columns.values()]
    text = "; ".join(
        f"{kind.value}: {', '.join(name for name, own in table.columns.items() if own is kind)}" for kind in kinds
    )
    export = f"`{table.export}`" if table.export else ""
    return f"`{label}`", text or "none", table.kept_until if kinds else "–", export


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
