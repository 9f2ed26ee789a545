"""
What the database keeps. It is the source of truth of every index and every cache.

Rules that must hold whatever code writes (uniqueness, ranges, "not oneself") are constraints here, not form checks.
"""

from recommendations.models.activity import (
    FeedInputs,
    FeedRequest,
    Interaction,
    LessOf,
    PostStats,
    RegionStats,
    Seen,
    ServedPage,
    Undo,
)
from recommendations.models.changes import Change, ChangeCut, ChangeMark
from recommendations.models.hours import FeedHour
from recommendations.models.imports import ImportCheckpoint
from recommendations.models.people import Member, PrivacySettings, Relationship
from recommendations.models.policies import RankingPolicy
from recommendations.models.posts import ErasedPost, Post, PostEmbedding
from recommendations.models.spaces import EmbeddingFailure, EmbeddingModel
from recommendations.models.tastes import InterestProfile
from recommendations.models.work import Job, JobChunk, JobFile

__all__ = [
    "Change",
    "ChangeCut",
    "ChangeMark",
    "EmbeddingFailure",
    "EmbeddingModel",
    "ErasedPost",
    "FeedHour",
    "FeedInputs",
    "FeedRequest",
    "ImportCheckpoint",
    "Interaction",
    "InterestProfile",
    "Job",
    "JobChunk",
    "JobFile",
    "LessOf",
    "Member",
    "Post",
    "PostEmbedding",
    "PostStats",
    "PrivacySettings",
    "RankingPolicy",
    "RegionStats",
    "Relationship",
    "Seen",
    "ServedPage",
    "Undo",
]
