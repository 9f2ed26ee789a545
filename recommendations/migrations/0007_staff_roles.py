from django.apps import apps as installed_apps
from django.db import migrations

from recommendations import roles


def create_roles(apps, schema_editor):
    """Create the groups with the permissions of the current models, which need no tables."""
    roles.create_roles(map(installed_apps.get_app_config, roles.ROLE_APPS))


class Migration(migrations.Migration):

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
        ('contenttypes', '0002_remove_content_type_name'),
        ('recommendations', '0006_consent'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='member',
            options={'ordering': ['id'], 'permissions': [('export_member', 'Can export all stored data of members')]},
        ),
        migrations.RunPython(create_roles, migrations.RunPython.noop),
    ]
