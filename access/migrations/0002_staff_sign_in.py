from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('access', '0001_initial'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='apikey',
            options={'ordering': ['-id'], 'permissions': [('mint_token', 'Can mint tokens, with which the bearer acts as a member')], 'verbose_name': 'API key'},
        ),
        migrations.AlterField(
            model_name='usagealert',
            name='kind',
            field=models.CharField(choices=[('spike', 'far more requests than this caller usually sends'), ('enumeration', 'many requests for ids that do not exist'), ('refusals', 'many rejected requests'), ('sign_in', 'sign-in locked after failures')], max_length=16),
        ),
    ]
