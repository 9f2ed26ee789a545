from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("monitoring", "0003_read_metrics")]
    operations = [
        migrations.AddField(
            model_name="alert",
            name="facts",
            field=models.JSONField(
                blank=True,
                help_text="What the summary says of the rule: metric, comparison, threshold and advice. Empty: as it was sent.",
                null=True,
            ),
        ),
    ]
