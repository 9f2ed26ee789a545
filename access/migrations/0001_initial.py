import access.models
import django.core.validators
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='ApiKey',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('prefix', models.CharField(editable=False, help_text='Public part of the key, which identifies it.', max_length=16, unique=True)),
                ('name', models.CharField(help_text='User and purpose of the key, such as “web backend, feeds”.', max_length=100)),
                ('scopes', models.JSONField(help_text='Permissions of the key.', validators=[access.models.check_scopes])),
                ('per_minute', models.PositiveIntegerField(blank=True, help_text='Maximum requests per minute. 0: no limit. Empty: RATE_PER_KEY.', null=True, validators=[django.core.validators.MaxValueValidator(1000000)])),
                ('expires_at', models.DateTimeField(blank=True, help_text='End of validity. Empty: valid until revoked.', null=True)),
                ('revoked_at', models.DateTimeField(blank=True, editable=False, null=True)),
                ('secret_hash', models.BinaryField(help_text='SHA-256 of the secret.')),
                ('old_secret_hash', models.BinaryField(help_text='SHA-256 of the secret before the last rotation.', null=True)),
                ('old_secret_expires_at', models.DateTimeField(blank=True, editable=False, null=True)),
                ('rotated_at', models.DateTimeField(blank=True, editable=False, null=True)),
                ('last_used_at', models.DateTimeField(blank=True, editable=False, help_text='To the minute.', null=True)),
                ('created_at', models.DateTimeField(editable=False)),
                ('created_by', models.ForeignKey(blank=True, editable=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'verbose_name': 'API key',
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='UsageAlert',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('spike', 'far more requests than this caller usually sends'), ('enumeration', 'many requests for ids that do not exist'), ('refusals', 'many rejected requests')], max_length=16)),
                ('caller', models.CharField(help_text='Prefix of the key, or the hash of a member or an address.', max_length=40)),
                ('hour', models.DateTimeField(help_text='Hour in which the usage was first unusual.')),
                ('raised_at', models.DateTimeField()),
                ('count', models.PositiveIntegerField(help_text='Number of requests when the alert was raised.')),
                ('baseline', models.FloatField(help_text='Allowed or usual number of requests.')),
                ('is_reviewed', models.BooleanField(default=False)),
                ('key', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='alerts', to='access.apikey')),
            ],
            options={
                'ordering': ['-raised_at', '-id'],
                'constraints': [models.UniqueConstraint(fields=('kind', 'caller', 'hour'), name='one_usage_alert_an_hour')],
            },
        ),
    ]
