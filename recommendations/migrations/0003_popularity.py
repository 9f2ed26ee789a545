from django.db import migrations, models

from recommendations.migrations import _initial_data as initial_data
from recommendations.migrations import _popularity as popularity

SUMS = {
    "hour_sum": "Halves after an hour, or as the control policy says.",
    "day_sum": "Halves after a day, or as the control policy says.",
    "week_sum": "Halves after a week, or as the control policy says.",
    "year_sum": "Halves after 365 days, or as the control policy says.",
    "total_sum": "Never decays.",
}


def change_sums(model):
    """Return the operations that replace the one sum of *model* by five."""
    return [
        migrations.RenameField(model, "engagement_at", "summed_at"),
        migrations.AlterField(
            model, "summed_at", models.DateTimeField(help_text="The moment to which the sums are decayed.")
        ),
        *(migrations.AddField(model, name, models.FloatField(default=0.0, help_text=text)) for name, text in SUMS.items()),
        migrations.RemoveField(model, "engagement"),
    ]


class Migration(migrations.Migration):

    dependencies = [
        ("recommendations", "0002_collaborative"),
    ]

    operations = [
        *change_sums("poststats"),
        *change_sums("regionstats"),
        migrations.RemoveConstraint("regionstats", "one_engagement_per_region"),
        migrations.AddConstraint(
            "regionstats", models.UniqueConstraint(fields=("post", "region"), name="one_row_per_post_and_region")
        ),
        migrations.AddIndex("interaction", models.Index(fields=["post", "member"], name="interactions_by_post")),
        migrations.AlterField(
            "interaction",
            "post",
            models.ForeignKey(
                db_index=False,
                on_delete=models.deletion.CASCADE,
                related_name="interactions",
                to="recommendations.post",
            ),
        ),
        migrations.RunPython(popularity.sum_learned_interactions, migrations.RunPython.noop),
        migrations.RunPython(initial_data.activate_new_defaults, migrations.RunPython.noop),
    ]
