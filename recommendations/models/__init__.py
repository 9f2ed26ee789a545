"""
The database models. The database is the source of truth of every index and every cache.

Rules that every writer must obey (uniqueness, ranges, no relationship with oneself) are database constraints here, not
form checks.
"""

from recommendations.models.activity import (
    AuthorCrowd,
    CrowdNewcomer,
    DampedEngagement,
    FeedInputs,
    FeedRequest,
    Interaction,
    NegativeFeedback,
    PostStats,
    RegionStats,
    SeenPost,
    SeenReport,
    ServedPage,
    Undo,
)
from recommendations.models.change_log import ChangeLogEntry, ChangeLogMark, ChangeLogTruncation
from recommendations.models.collaborative import (
    CoLikes,
    HistoryChange,
    ReactionHistory,
    TrainedModel,
    TrainedModelBlock,
)
from recommendations.models.embedding_models import EmbeddingFailure, EmbeddingModel
from recommendations.models.erasures import ErasureReceipt
from recommendations.models.evaluations import Evaluation
from recommendations.models.feed_hours import FeedHour
from recommendations.models.import_checkpoints import ImportCheckpoint
from recommendations.models.interests import InterestProfile
from recommendations.models.jobs import Job, JobChunk, JobFailure, JobFile
from recommendations.models.members import Member, PrivacySettings, Relationship, is_personalized_by_default
from recommendations.models.policies import RankingPolicy
from recommendations.models.posts import ErasedPost, Post, PostEmbedding

__all__ = [
    "AuthorCrowd",
    "ChangeLogEntry",
    "ChangeLogMark",
    "ChangeLogTruncation",
    "CoLikes",
    "CrowdNewcomer",
    "DampedEngagement",
    "EmbeddingFailure",
    "EmbeddingModel",
    "ErasedPost",
    "ErasureReceipt",
    "Evaluation",
    "FeedHour",
    "FeedInputs",
    "FeedRequest",
    "HistoryChange",
    "ImportCheckpoint",
    "Interaction",
    "InterestProfile",
    "Job",
    "JobChunk",
    "JobFailure",
    "JobFile",
    "Member",
    "NegativeFeedback",
    "Post",
    "PostEmbedding",
    "PostStats",
    "PrivacySettings",
    "RankingPolicy",
    "ReactionHistory",
    "RegionStats",
    "Relationship",
    "SeenPost",
    "SeenReport",
    "ServedPage",
    "TrainedModel",
    "TrainedModelBlock",
    "Undo",
    "is_personalized_by_default",
]
