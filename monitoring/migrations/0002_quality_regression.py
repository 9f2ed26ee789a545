from django.db import migrations

from values.translation import translatable

ADVICE = translatable(
    "Compare the two newest evaluations in the admin, and roll back the policy, model or release that changed."
)


def add_rule(apps, schema_editor):
    rules = apps.get_model("monitoring", "AlertRule").objects.using(schema_editor.connection.alias)
    rules.create(
        name="quality_regression",
        metric="recsys_quality_regression",
        comparison="above",
        threshold=0.0,
        for_seconds=60,
        severity="medium",
        advice=ADVICE,
    )


class Migration(migrations.Migration):
    dependencies = [("monitoring", "0001_initial")]
    operations = [migrations.RunPython(add_rule, migrations.RunPython.noop)]
