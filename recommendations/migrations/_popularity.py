"""Fills the sums of posts from the learned interactions, as if they were learned again."""

from datetime import UTC, datetime

import numpy as np

from recommendations.contracts import POPULARITY_SUMS, Policy
from recommendations.stores.bulk import update_columns
from recommendations.stores.popularity_sums import add_to_sums, bound_weights
from recommendations.stores.row_groups import group_rows

POSTS_PER_CHUNK = 500
COLUMNS = ("occurred_at", "id", "member_id", "post_id", "kind", "member__region")


def sum_learned_interactions(apps, schema_editor):
    """Fill the sums of every stored row, with the weights and half-lives of the active control policy."""
    policies = apps.get_model("recommendations", "RankingPolicy").objects
    active = policies.filter(variant="control", is_active=True).first()
    policy = Policy.from_stored(active.settings) if active else Policy()
    post_stats, region_stats = (apps.get_model("recommendations", name) for name in ("PostStats", "RegionStats"))
    interactions = apps.get_model("recommendations", "Interaction").objects.filter(is_learned=True)
    all_ids = list(post_stats.objects.order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(all_ids), POSTS_PER_CHUNK):
        post_ids = all_ids[start : start + POSTS_PER_CHUNK]
        learned = sorted(interactions.filter(post__in=post_ids).values_list(*COLUMNS))
        pairs = group_rows(*(np.array([row[column] for row in learned], np.int64) for column in (2, 3)))
        weights = np.array([policy.popularity_weights[row[4]] for row in learned])
        added = bound_weights(pairs.numbers, weights).tolist()
        changes = [(post, region, at.timestamp(), add) for (at, _, _, post, _, region), add in zip(learned, added)]
        rows = {(row.post_id, ""): row for row in post_stats.objects.filter(pk__in=post_ids)}
        fill_sums(rows, [((post, ""), at, weight) for post, _, at, weight in changes], policy)
        rows = {(row.post_id, row.region): row for row in region_stats.objects.filter(post__in=post_ids)}
        fill_sums(rows, [((post, region), at, weight) for post, region, at, weight in changes], policy)


def fill_sums(rows, changes, policy):
    """Write the sums of *rows*, by key, from *changes*: key, Unix seconds and weight. Other keys are left out."""
    positions = {key: i for i, key in enumerate(rows)}
    known = [change for change in changes if change[0] in positions]
    if not known:
        return
    sums, summed_at = add_to_sums(
        np.zeros((len(rows), len(POPULARITY_SUMS))),
        np.array([row.summed_at.timestamp() for row in rows.values()]),
        np.array([positions[key] for key, _, _ in known]),
        np.array([at for _, at, _ in known]),
        np.array([weight for _, _, weight in known]),
        policy.popularity_half_lives,
    )
    times = [datetime.fromtimestamp(moment, UTC) for moment in summed_at.tolist()]
    columns = {"summed_at": times, **dict(zip(POPULARITY_SUMS, sums.T.tolist()))}
    update_columns(type(next(iter(rows.values()))), [row.pk for row in rows.values()], columns, {})
