from django.db import migrations

from recommendations.migrations import _initial_data as initial_data


class Migration(migrations.Migration):

    dependencies = [
        ("recommendations", "0020_more_coverage"),
    ]

    operations = [
        migrations.RunPython(initial_data.activate_new_defaults, migrations.RunPython.noop),
    ]
