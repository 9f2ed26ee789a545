"""Adds the flag that makes trained models wait for an operator's approval. It is off: a measured model becomes active."""

from uuid import uuid4

from django.db import migrations
from django.utils import timezone

from flags.migrations._initial_data import flag_document, record

KEY = "approve_models"


def add_flag(apps, schema_editor):
    now = timezone.now()
    flag, is_created = apps.get_model("flags", "Flag").objects.get_or_create(
        key=KEY,
        defaults={
            "description": "A trained model waits until an operator activates it; off: it becomes active if its quality is not worse.",
            "is_enabled": False,
            "rollout_percentage": 100,
            "changed_at": now,
        },
    )
    if is_created:
        record(apps, "flag", KEY, flag_document(flag), now)
        apps.get_model("flags", "PayloadVersion").objects.update(token=uuid4())


class Migration(migrations.Migration):

    dependencies = [
        ("flags", "0001_initial"),
    ]

    operations = [
        migrations.RunPython(add_flag, migrations.RunPython.noop),
    ]
