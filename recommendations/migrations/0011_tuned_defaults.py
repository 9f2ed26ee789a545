from django.db import migrations

from recommendations.migrations import _initial_data as initial_data


class Migration(migrations.Migration):

    dependencies = [
        ("recommendations", "0010_interest_tags"),
    ]

    operations = [
        migrations.RunPython(initial_data.activate_new_defaults, migrations.RunPython.noop),
    ]
