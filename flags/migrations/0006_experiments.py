"""Experiments are recorded as flags are: in the one record of changes."""

from django.db import migrations, models

SUBJECTS = [("flag", "flag"), ("segment", "segment"), ("plan", "rollout plan"), ("trial", "experiment")]


class Migration(migrations.Migration):
    dependencies = [("flags", "0005_flags_data")]
    operations = [
        *(
            migrations.AlterField(model, "subject", models.CharField(choices=SUBJECTS, max_length=8))
            for model in ("flagchange", "pendingchange")
        ),
        migrations.DeleteModel("ExperimentChange"),
    ]
