from django.db import migrations, models
from django.db.models import F


def estimate_from_served(apps, schema_editor):
    """Estimate the seen counts of posts that were served before: 0.35 per time, the mean of a page of 20."""
    apps.get_model("recommendations", "PostStats").objects.filter(served_count__gt=0).update(
        seen_count=0.35 * F("served_count")
    )


class Migration(migrations.Migration):
    dependencies = [
        ("recommendations", "0018_measured_weights"),
    ]

    operations = [
        migrations.CreateModel(
            name="SeenReport",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("post_id", models.BigIntegerField(help_text="The database id of the post.")),
            ],
        ),
        migrations.AddField(
            model_name="poststats",
            name="seen_count",
            field=models.FloatField(
                db_default=0.0,
                default=0.0,
                help_text="How often members looked at the post: as reported, or as its positions on served pages suggest.",
            ),
        ),
        migrations.RunPython(estimate_from_served, migrations.RunPython.noop),
    ]
