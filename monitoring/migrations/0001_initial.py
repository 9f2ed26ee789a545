import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from monitoring.migrations import _initial_data as initial_data


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='AlertRule',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(help_text='Such as recommendation_generation_time.', max_length=64, unique=True)),
                ('metric', models.CharField(help_text='The computed gauge to watch. docs/monitoring.md lists them.', max_length=64)),
                ('labels', models.JSONField(blank=True, default=dict, help_text='Labels of the values to compare, such as {"operation": "feed"}. Empty: all. The worst value counts.')),
                ('comparison', models.CharField(choices=[('above', 'Above'), ('below', 'Below')], default='above', max_length=8)),
                ('threshold', models.FloatField(help_text="The rule is breached beyond this value, in the metric's unit.")),
                ('clears_at', models.FloatField(blank=True, help_text='A firing alert resolves only when the value is back at this one, so that the alert does not flap. Empty: the threshold.', null=True)),
                ('for_seconds', models.PositiveIntegerField(default=60, help_text='Seconds that the breach must last before the alert fires.')),
                ('severity', models.CharField(choices=[('low', 'low'), ('medium', 'medium'), ('high', 'high'), ('critical', 'critical')], default='medium', max_length=8)),
                ('is_enabled', models.BooleanField(default=True)),
                ('advice', models.CharField(blank=True, help_text='What to do when the alert fires. Notices include it.', max_length=300)),
            ],
            options={
                'ordering': ['name'],
            },
        ),
        migrations.CreateModel(
            name='MaintenanceTask',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=64, unique=True)),
                ('claimed_at', models.DateTimeField(blank=True, help_text='When the last run started.', null=True)),
                ('is_running', models.BooleanField(default=False)),
            ],
            options={
                'verbose_name_plural': 'maintenance tasks',
                'ordering': ['name'],
            },
        ),
        migrations.CreateModel(
            name='Alert',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.CharField(help_text="The rule, or Alertmanager's fingerprint.", max_length=128)),
                ('name', models.CharField(max_length=128)),
                ('severity', models.CharField(max_length=16)),
                ('state', models.CharField(choices=[('pending', "pending: the condition holds, but not yet for the rule's duration"), ('firing', 'Firing'), ('resolved', 'Resolved')], default='pending', max_length=8)),
                ('value', models.FloatField(blank=True, help_text='The metric value at the last evaluation.', null=True)),
                ('summary', models.CharField(blank=True, max_length=300)),
                ('labels', models.JSONField(blank=True, default=dict)),
                ('began_at', models.DateTimeField(help_text='When the breach was first seen.')),
                ('fired_at', models.DateTimeField(blank=True, null=True)),
                ('resolved_at', models.DateTimeField(blank=True, null=True)),
                ('acknowledged_at', models.DateTimeField(blank=True, null=True)),
                ('note', models.TextField(blank=True, help_text='The cause, and what is being done.')),
                ('acknowledged_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('rule', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='alerts', to='monitoring.alertrule')),
            ],
            options={
                'ordering': ['-began_at', '-pk'],
            },
        ),
        migrations.CreateModel(
            name='MaintenanceRun',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=64)),
                ('started_at', models.DateTimeField(db_index=True)),
                ('seconds', models.FloatField(default=0.0)),
                ('rows', models.PositiveBigIntegerField(default=0, help_text='Rows, entries or posts processed.')),
                ('bytes', models.PositiveBigIntegerField(default=0, help_text='Bytes freed or written, if known.')),
                ('outcome', models.CharField(choices=[('done', 'Done'), ('failed', 'Failed'), ('lost', 'lost: the worker died during the run')], max_length=8)),
                ('note', models.CharField(blank=True, max_length=300)),
                ('error', models.CharField(blank=True, help_text="The error's type.", max_length=64)),
            ],
            options={
                'ordering': ['-started_at', '-pk'],
                'indexes': [models.Index(fields=['name', '-started_at'], name='runs_by_task')],
            },
        ),
        migrations.CreateModel(
            name='Notice',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('channel', models.CharField(choices=[('email', 'Email'), ('webhook', 'Webhook'), ('alertmanager', 'Alertmanager')], max_length=16)),
                ('event', models.CharField(choices=[('firing', 'firing'), ('resolved', 'resolved')], max_length=8)),
                ('state', models.CharField(choices=[('waiting', 'Waiting'), ('sent', 'Sent'), ('given up', 'Given Up')], default='waiting', max_length=8)),
                ('attempts', models.PositiveSmallIntegerField(default=0)),
                ('due_at', models.DateTimeField()),
                ('sent_at', models.DateTimeField(blank=True, null=True)),
                ('error', models.CharField(blank=True, help_text="The error's type.", max_length=64)),
                ('alert', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='notices', to='monitoring.alert')),
            ],
            options={
                'ordering': ['-due_at', '-pk'],
            },
        ),
        migrations.CreateModel(
            name='Silence',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('rule_name', models.CharField(blank=True, help_text="An alert's name. Empty: every alert.", max_length=128)),
                ('severity', models.CharField(blank=True, choices=[('low', 'low'), ('medium', 'medium'), ('high', 'high'), ('critical', 'critical')], help_text='Empty: any.', max_length=8)),
                ('starts_at', models.DateTimeField()),
                ('ends_at', models.DateTimeField()),
                ('reason', models.CharField(max_length=300)),
                ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-ends_at'],
            },
        ),
        migrations.AddIndex(
            model_name='alert',
            index=models.Index(fields=['state', '-began_at'], name='alerts_by_state'),
        ),
        migrations.AddConstraint(
            model_name='alert',
            constraint=models.UniqueConstraint(condition=models.Q(('state__in', ('pending', 'firing'))), fields=('key',), name='one_open_alert_per_key'),
        ),
        migrations.AddIndex(
            model_name='notice',
            index=models.Index(fields=['state', 'due_at'], name='notices_due'),
        ),
        migrations.AddConstraint(
            model_name='notice',
            constraint=models.UniqueConstraint(fields=('alert', 'channel', 'event'), name='one_notice_per_event_and_channel'),
        ),
        migrations.AddConstraint(
            model_name='silence',
            constraint=models.CheckConstraint(condition=models.Q(('ends_at__gt', models.F('starts_at'))), name='silences_end'),
        ),
        migrations.RunPython(initial_data.add_rules, migrations.RunPython.noop),
    ]
