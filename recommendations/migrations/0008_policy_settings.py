from django.db import migrations

DEFAULTS = {
    "taste": 1.0,
    "cold": 1.0,
    "dislike": 0.5,
    "recency": 0.15,
    "popularity": 0.25,
    "follow": 0.2,
    "author": 0.2,
    "topic": 0.2,
    "less": 2.0,
    "quality": 0.1,
    "audition": 0.05,
    "fatigue": 0.4,
    "fatigue_half_life_hours": 6,
    "session": 0.8,
    "recency_half_life_hours": 72,
    "diversity": 0.3,
    "author_cap": 3,
    "nearest": 400,
    "interests": 4,
    "followed": 300,
    "trending": 200,
    "fresh": 100,
    "topics": 150,
    "auditions": 30,
    "audition_share": 0.05,
    "audition_impressions": 100,
    "topic_run": 2,
    "act_view": 0.2,
    "act_click": 0.5,
    "act_dwell": 0.5,
    "act_like": 1.0,
    "act_comment": 1.5,
    "act_share": 2.0,
    "act_save": 2.0,
    "act_follow": 1.5,
    "act_hide": -1.0,
    "act_not_interested": -1.5,
    "act_report": -2.0,
}
"""The defaults of the release that ranked by them until now: a version that lacks a setting is completed with it."""


def complete_versions(apps, schema_editor):
    """Store every setting in every version, so that a default that is changed later changes none of them."""
    model = apps.get_model("recommendations", "RankingPolicy")
    for policy in model.objects.all():
        policy.settings = DEFAULTS | policy.settings
        policy.save(update_fields=["settings"])


class Migration(migrations.Migration):
    dependencies = [("recommendations", "0007_changes")]
    operations = [migrations.RunPython(complete_versions, migrations.RunPython.noop)]
