from django.conf import settings
from django.db import migrations
from django.utils import timezone


def add_flag(apps, schema_editor):
    """The flag that chooses the engine, as the environment wants it at first; after that the row rules."""
    apps.get_model("flags", "Flag").objects.get_or_create(
        key="wasm_recommendations",
        defaults={
            "description": "Rank on the WebAssembly kernel; off: on the NumPy control engine.",
            "is_enabled": settings.ENV.enable_wasm_recommendations,
            "rollout_percentage": settings.ENV.wasm_rollout_percentage,
            "changed_at": timezone.now(),
        },
    )


class Migration(migrations.Migration):
    dependencies = [("flags", "0001_initial")]
    operations = [migrations.RunPython(add_flag, migrations.RunPython.noop)]
