from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('monitoring', '0002_quality_regression'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='alert',
            options={'ordering': ['-began_at', '-pk'], 'permissions': [('read_metrics', 'Can read the dashboard, /metrics and the reasons of health checks')]},
        ),
    ]
