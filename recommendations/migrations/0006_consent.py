"""Mark interactions that weigh nothing, and let PERSONALIZATION_CONSENT choose the consent of new settings."""

from django.db import migrations, models

import recommendations.models.members


class Migration(migrations.Migration):
    dependencies = [("recommendations", "0005_erasure_receipts")]

    operations = [
        migrations.AddField(
            model_name="interaction",
            name="is_ignored",
            field=models.BooleanField(default=False, help_text="Whether the interaction weighs nothing: an implicit one of a member not known to be an adult."),
        ),
        migrations.AlterField(
            model_name="privacysettings",
            name="is_personalized",
            field=models.BooleanField(default=recommendations.models.members.is_personalized_by_default, help_text="If off, feeds do not use what this member did, and nothing is learned from it."),
        ),
    ]
