from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('access', '0001_initial'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='apikey',
            options={'ordering': ['-id'], 'permissions': [('mint_token', 'Can mint tokens, with which the bearer acts as a member')], 'verbose_name': 'API key'},
        ),
    ]
