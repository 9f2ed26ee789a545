"""What collaborative ranking is computed from: reaction histories and co-likes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import numpy as np
from django.conf import settings
from django.contrib import admin
from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_lazy

from monitoring.admin_columns import identifier
from monitoring.admin_lists import ServiceRowsAdmin
from monitoring.number_texts import ShownNumber, decimals, shown
from recommendations.admin.formatting import html_table
from recommendations.collaborative.nearest import unpack_nearest
from recommendations.collaborative.part_scores import WEIGHT_UNIT
from recommendations.collaborative.reactions import Reactions
from recommendations.models import CoLikes, HistoryChange, Post, ReactionHistory

SHOWN_ROWS = 50


@admin.register(ReactionHistory)
class ReactionHistoryAdmin(ServiceRowsAdmin):
    list_display = ("member", "likes", "rejections")
    list_select_related = ("member",)
    search_fields = ("^member__external_id",)
    search_help_text = gettext_lazy("First characters of the member's id")
    fields = (*list_display, "newest")
    readonly_fields = ("likes", "rejections", "newest")

    @admin.display(description=gettext_lazy("likes"))
    def likes(self, history: ReactionHistory) -> ShownNumber:
        """Return the number of likes."""
        return shown(len(read_reactions(history).liked_ids))

    @admin.display(description=gettext_lazy("rejections"))
    def rejections(self, history: ReactionHistory) -> ShownNumber:
        """Return the number of rejections."""
        return shown(len(read_reactions(history).rejected_ids))

    @admin.display(description=gettext_lazy("newest reactions"))
    def newest(self, history: ReactionHistory) -> SafeString:
        """Return the newest reactions as a table, newest first."""
        reactions = read_reactions(history)
        rows = list(zip(reactions.signed_ids.tolist(), reactions.times.tolist(), strict=True))[::-1][:SHOWN_ROWS]
        names = post_names(abs(signed) for signed, _ in rows)
        return html_table(
            (gettext("post"), gettext("reaction"), gettext("time")),
            (
                (
                    names.get(abs(signed), str(abs(signed))),
                    gettext("like") if signed > 0 else gettext("rejection"),
                    format_time(time),
                )
                for signed, time in rows
            ),
        )


def read_reactions(history: ReactionHistory) -> Reactions:
    """Return the reactions of a row."""
    return Reactions.from_bytes(bytes(history.reactions), bytes(history.reacted_at))


def name_reaction(signed: int) -> str:
    """Return the word for a reaction: the id of a rejected post is negative."""
    return gettext("like") if signed > 0 else gettext("rejection")


def format_time(time: float) -> str:
    """Return a time in Unix seconds for display."""
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M}"


def post_names(pks: Iterable[int]) -> dict[int, str]:
    """Return the platform's ids of the posts that exist, by primary key."""
    return dict(Post.objects.filter(pk__in=list(pks)).values_list("pk", "external_id"))


@admin.register(CoLikes)
class CoLikesAdmin(ServiceRowsAdmin):
    list_display = ("post", "like_count", "pairs", "changed_at")
    ordering = ("-like_count",)
    search_fields = ("=post_id",)
    search_help_text = gettext_lazy("Primary key of the post")
    fields = (*list_display, "nearest_posts")
    readonly_fields = ("post", "pairs", "nearest_posts")

    @admin.display(description=gettext_lazy("post"))
    def post(self, row: CoLikes) -> str:
        """Return the platform's id of the post."""
        return post_names([row.post_id]).get(row.post_id, str(row.post_id))

    @admin.display(description=gettext_lazy("posts liked with it"))
    def pairs(self, row: CoLikes) -> ShownNumber:
        """Return the number of posts that were liked with the post."""
        return shown(len(bytes(row.target_ids)) // 8)

    @admin.display(description=gettext_lazy("nearest posts"))
    def nearest_posts(self, row: CoLikes) -> SafeString:
        """Return the strongest co-likes that enough members support, as a table."""
        entries = unpack_nearest(bytes(row.nearest), min_members=settings.ENV.co_like_min_members)
        entries = entries[np.argsort(-entries["together"].astype(int), kind="stable")][:SHOWN_ROWS]
        names = post_names(entries["target"].tolist())
        return html_table(
            (gettext("post"), gettext("members"), gettext("together"), gettext("after")),
            (
                (
                    names.get(target, str(target)),
                    members,
                    decimals(together * WEIGHT_UNIT, 3),
                    decimals(after * WEIGHT_UNIT, 3),
                )
                for target, members, together, after in entries.tolist()
            ),
        )


@admin.register(HistoryChange)
class HistoryChangeAdmin(ServiceRowsAdmin):
    list_display = (identifier("id", gettext_lazy("id")), "before_count", "after_count")
    fields = readonly_fields = list_display

    @admin.display(description=gettext_lazy("reactions before"))
    def before_count(self, change: HistoryChange) -> ShownNumber:
        """Return the number of reactions before the change."""
        return shown(len(bytes(change.before)) // 8)

    @admin.display(description=gettext_lazy("reactions after"))
    def after_count(self, change: HistoryChange) -> ShownNumber:
        """Return the number of reactions after the change."""
        return shown(len(bytes(change.after)) // 8)
