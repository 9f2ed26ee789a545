import django.core.validators
import django.db.models.deletion
import flags.models.flags
from django.conf import settings
from django.db import migrations, models

from flags.migrations import _initial_data as initial_data


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='ExclusionGroup',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.SlugField(max_length=64, unique=True)),
                ('description', models.CharField(blank=True, max_length=300)),
            ],
            options={
                'ordering': ['key'],
            },
        ),
        migrations.CreateModel(
            name='Holdout',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.SlugField(max_length=64, unique=True)),
                ('percentage', models.FloatField(default=5.0, help_text='Percentage of units held out.', validators=[django.core.validators.MinValueValidator(0.0), django.core.validators.MaxValueValidator(100.0)])),
                ('description', models.CharField(blank=True, max_length=300)),
            ],
            options={
                'ordering': ['key'],
            },
        ),
        migrations.CreateModel(
            name='Metric',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.SlugField(max_length=64, unique=True)),
                ('description', models.CharField(blank=True, max_length=300)),
                ('kind', models.CharField(choices=[('rate', 'Rate'), ('mean', 'Mean'), ('ratio', 'Ratio')], default='mean', max_length=8)),
                ('source', models.CharField(default='interactions', help_text='Source of the events.', max_length=64)),
                ('numerator', models.JSONField(default=list, help_text='Kinds of events that count, such as ["like", "share"].')),
                ('denominator', models.JSONField(blank=True, default=list, help_text='For a ratio: kinds of events in the denominator.')),
                ('window_days', models.PositiveSmallIntegerField(default=7, help_text="Length of the window after a unit's exposure, in days.", validators=[django.core.validators.MinValueValidator(1)])),
                ('prior_days', models.PositiveSmallIntegerField(default=14, help_text='Days before the exposure used by CUPED; 0: no CUPED. Not for a ratio.')),
                ('higher_is_better', models.BooleanField(default=True)),
                ('is_guardrail', models.BooleanField(default=False, help_text='The metric must not get worse.')),
                ('tolerance', models.FloatField(default=0.01, help_text='For a guardrail: the accepted relative harm.', validators=[django.core.validators.MinValueValidator(0.0)])),
            ],
            options={
                'ordering': ['is_guardrail', 'key'],
            },
        ),
        migrations.CreateModel(
            name='PayloadVersion',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('token', models.UUIDField()),
            ],
        ),
        migrations.CreateModel(
            name='Segment',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.SlugField(max_length=64, unique=True)),
                ('description', models.CharField(blank=True, max_length=300)),
                ('match', models.CharField(choices=[('all', 'all conditions'), ('any', 'any condition')], default='all', max_length=4)),
                ('allowed_ids', models.JSONField(blank=True, default=list, help_text='Ids that are in the segment even if no condition matches.')),
                ('denied_ids', models.JSONField(blank=True, default=list, help_text='Ids that are never in the segment.')),
                ('changed_at', models.DateTimeField(editable=False)),
            ],
            options={
                'ordering': ['key'],
            },
        ),
        migrations.CreateModel(
            name='Experiment',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.SlugField(max_length=64, unique=True)),
                ('hypothesis', models.TextField(help_text='What you expect to change, for whom, and why.')),
                ('unit', models.CharField(choices=[('member', 'Member')], default='member', help_text='What is randomized.', max_length=16)),
                ('traffic_percentage', models.FloatField(default=100.0, help_text='Percentage of units in the experiment; the others follow the flag.', validators=[django.core.validators.MinValueValidator(0.0), django.core.validators.MaxValueValidator(100.0)])),
                ('slot_from', models.FloatField(default=0.0, help_text='Start of the slot in the group, %.', validators=[django.core.validators.MinValueValidator(0.0), django.core.validators.MaxValueValidator(100.0)])),
                ('slot_to', models.FloatField(default=100.0, help_text='End of the slot in the group, %.', validators=[django.core.validators.MinValueValidator(0.0), django.core.validators.MaxValueValidator(100.0)])),
                ('is_sticky', models.BooleanField(default=True, help_text='Units that were exposed keep their variant in a new phase.')),
                ('minimum_effect', models.FloatField(default=0.05, help_text='Smallest relative lift of the goal to detect; determines the run time.', validators=[django.core.validators.MinValueValidator(0.0001)])),
                ('is_bandit', models.BooleanField(default=False, help_text='Weights follow the results (Thompson sampling); each change starts a new phase.')),
                ('bandit_floor', models.FloatField(default=0.05, help_text='Lowest share of a variant, 0 to 1.', validators=[django.core.validators.MinValueValidator(0.01), django.core.validators.MaxValueValidator(0.5)])),
                ('state', models.CharField(choices=[('draft', 'Draft'), ('running', 'Running'), ('paused', 'Paused'), ('finished', 'Finished')], default='draft', editable=False, max_length=8)),
                ('decision', models.CharField(blank=True, editable=False, help_text='Key of the winning variant.', max_length=64)),
                ('decision_reason', models.TextField(blank=True, editable=False)),
                ('started_at', models.DateTimeField(editable=False, null=True)),
                ('finished_at', models.DateTimeField(editable=False, null=True)),
                ('changed_at', models.DateTimeField(editable=False)),
                ('group', models.ForeignKey(blank=True, help_text='At most one experiment of a group per unit.', null=True, on_delete=django.db.models.deletion.PROTECT, to='flags.exclusiongroup')),
            ],
            options={
                'ordering': ['key'],
            },
        ),
        migrations.CreateModel(
            name='ExperimentPhase',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.PositiveIntegerField()),
                ('seed', models.CharField(max_length=100)),
                ('traffic', models.FloatField(help_text='0 to 1.')),
                ('variants', models.JSONField(help_text='In order: key, share (0 to 1), is_control, value, config.')),
                ('started_at', models.DateTimeField()),
                ('ended_at', models.DateTimeField(blank=True, null=True)),
                ('experiment', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='phases', to='flags.experiment')),
            ],
            options={
                'ordering': ['experiment', 'number'],
            },
        ),
        migrations.CreateModel(
            name='ExperimentVariant',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.SlugField(max_length=64)),
                ('weight', models.FloatField(default=50.0, help_text='Relative to the other variants.', validators=[django.core.validators.MinValueValidator(0.0)])),
                ('is_control', models.BooleanField(default=False, help_text='The variant that the others are compared with. Exactly one.')),
                ('value', models.JSONField(blank=True, default=bool, help_text="The flag's value for this variant.")),
                ('config', models.JSONField(blank=True, default=dict, help_text='Settings: the same names and types in each variant.')),
                ('experiment', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='variants', to='flags.experiment')),
            ],
            options={
                'ordering': ['-is_control', 'pk'],
            },
        ),
        migrations.CreateModel(
            name='Exposure',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('unit_id', models.CharField(max_length=128)),
                ('variant', models.CharField(max_length=64)),
                ('propensity', models.FloatField(help_text='Probability of this variant for the unit, given that the unit is in the experiment.')),
                ('exposed_at', models.DateTimeField()),
                ('experiment', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='exposures', to='flags.experiment')),
                ('phase', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='exposures', to='flags.experimentphase')),
            ],
            options={
                'ordering': ['-exposed_at'],
            },
        ),
        migrations.CreateModel(
            name='Flag',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.SlugField(help_text='The name that code uses. It cannot change later.', max_length=64, unique=True)),
                ('description', models.CharField(blank=True, help_text='What the flag changes.', max_length=300)),
                ('kind', models.CharField(choices=[('bool', 'on or off'), ('string', 'text'), ('number', 'number'), ('json', 'JSON object or list')], default='bool', help_text='Type of its values.', max_length=8)),
                ('is_enabled', models.BooleanField(default=False, help_text='Off: all members get the off value, within 2 seconds.')),
                ('rollout_percentage', models.FloatField(default=0.0, help_text='Percentage of remaining members who get the flag. Raising it never removes anyone.', validators=[django.core.validators.MinValueValidator(0.0), django.core.validators.MaxValueValidator(100.0)])),
                ('on_value', models.JSONField(default=flags.models.flags.default_true, help_text='Value for members who get the flag, if it has no variants.')),
                ('default_value', models.JSONField(default=bool, help_text='Value for members who do not get the flag while it is on.')),
                ('off_value', models.JSONField(default=bool, help_text='Value for all members while the flag is off.')),
                ('starts_at', models.DateTimeField(blank=True, help_text='The flag is off before this time.', null=True)),
                ('ends_at', models.DateTimeField(blank=True, help_text='The flag is off from this time on.', null=True)),
                ('tags', models.JSONField(blank=True, default=list, help_text='Tags for finding flags.')),
                ('owner', models.CharField(blank=True, help_text='The responsible team.', max_length=100)),
                ('expires_at', models.DateTimeField(blank=True, help_text='When the flag should be gone from the code. Later it is reported as stale.', null=True)),
                ('needs_approval', models.BooleanField(default=False, help_text="Changes need a second person's approval.")),
                ('is_archived', models.BooleanField(default=False, help_text='Hidden from lists; code gets its own default.')),
                ('version', models.PositiveIntegerField(default=0, editable=False)),
                ('changed_at', models.DateTimeField(editable=False)),
            ],
            options={
                'ordering': ['key'],
                'permissions': [('release_flag', 'Can approve changes, run rollouts and turn flags off in an emergency')],
                'constraints': [models.CheckConstraint(condition=models.Q(('rollout_percentage__gte', 0), ('rollout_percentage__lte', 100)), name='rollout_is_a_percentage')],
            },
        ),
        migrations.AddField(
            model_name='experiment',
            name='flag',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='experiments', to='flags.flag'),
        ),
        migrations.CreateModel(
            name='FlagChange',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('subject', models.CharField(choices=[('flag', 'flag'), ('segment', 'segment'), ('plan', 'rollout plan'), ('experiment', 'experiment')], max_length=16)),
                ('key', models.CharField(db_index=True, max_length=64)),
                ('changed_at', models.DateTimeField(db_index=True)),
                ('system', models.CharField(blank=True, help_text='The system rule that made the change, if no user did.', max_length=64)),
                ('action', models.CharField(max_length=16)),
                ('why', models.TextField()),
                ('before', models.JSONField(help_text='Empty: the change created the object.', null=True)),
                ('after', models.JSONField()),
                ('evidence', models.JSONField(default=list, help_text='Guardrail checks behind an automatic change.')),
                ('approved_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-changed_at', '-pk'],
            },
        ),
        migrations.CreateModel(
            name='FlagVariant',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('position', models.PositiveSmallIntegerField(default=0)),
                ('name', models.SlugField(max_length=64)),
                ('value', models.JSONField()),
                ('weight', models.FloatField(default=1.0, help_text='Relative to the other variants.', validators=[django.core.validators.MinValueValidator(0.0)])),
                ('flag', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='variants', to='flags.flag')),
            ],
            options={
                'ordering': ['position', 'pk'],
            },
        ),
        migrations.AddField(
            model_name='experiment',
            name='holdout',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, to='flags.holdout'),
        ),
        migrations.CreateModel(
            name='InterimAnalysis',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('phase_number', models.PositiveIntegerField()),
                ('analyzed_at', models.DateTimeField(db_index=True)),
                ('units', models.JSONField(help_text='Exposed units by variant.')),
                ('daily_units', models.JSONField(help_text='Units first exposed on each day, by variant.')),
                ('sample_ratio_p', models.FloatField()),
                ('needed_units', models.FloatField(help_text='Total units to detect the minimum effect; empty: unknown.', null=True)),
                ('days_left', models.FloatField(help_text='Days until enough units are exposed, at the current pace; empty: unknown.', null=True)),
                ('duration_seconds', models.FloatField(help_text='Duration of the analysis.')),
                ('experiment', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='interim_analyses', to='flags.experiment')),
            ],
            options={
                'ordering': ['-analyzed_at', '-pk'],
            },
        ),
        migrations.CreateModel(
            name='ExperimentResult',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('variant', models.CharField(max_length=64)),
                ('slice_label', models.CharField(blank=True, help_text='Such as language=en; empty: all units.', max_length=64)),
                ('control_units', models.PositiveIntegerField()),
                ('units', models.PositiveIntegerField()),
                ('control_mean', models.FloatField()),
                ('mean', models.FloatField()),
                ('difference', models.FloatField(help_text='Treatment minus control, after CUPED.')),
                ('fixed_low', models.FloatField(help_text='Fixed interval: valid for one planned analysis.', null=True)),
                ('fixed_high', models.FloatField(null=True)),
                ('fixed_p', models.FloatField(help_text='P-value of the fixed interval.')),
                ('anytime_low', models.FloatField(help_text='Anytime-valid interval: valid at all analyses.', null=True)),
                ('anytime_high', models.FloatField(null=True)),
                ('anytime_p', models.FloatField()),
                ('adjusted_p', models.FloatField(help_text='The anytime p-value, adjusted for the number of comparisons.')),
                ('lift', models.FloatField(help_text="Relative; empty if the control's mean is close to zero.", null=True)),
                ('lift_low', models.FloatField(help_text='Anytime-valid.', null=True)),
                ('lift_high', models.FloatField(null=True)),
                ('chance_better', models.FloatField(help_text='Bayesian probability that the variant is better.')),
                ('expected_loss', models.FloatField(help_text="Expected loss of choosing the variant, in the metric's unit.", null=True)),
                ('remaining_variance_ratio', models.FloatField(help_text='Variance after CUPED divided by the variance before.')),
                ('verdict', models.CharField(choices=[('better', 'Better'), ('worse', 'Worse'), ('safe', 'Safe'), ('inconclusive', 'Inconclusive')], max_length=16)),
                ('interim_analysis', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='results', to='flags.interimanalysis')),
                ('metric', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='flags.metric')),
            ],
            options={
                'ordering': ['pk'],
            },
        ),
        migrations.AddField(
            model_name='experiment',
            name='goal',
            field=models.ForeignKey(blank=True, help_text='Decides the experiment.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='flags.metric'),
        ),
        migrations.AddField(
            model_name='experiment',
            name='metrics',
            field=models.ManyToManyField(blank=True, help_text='Other metrics to report, including guardrails.', to='flags.metric'),
        ),
        migrations.CreateModel(
            name='PendingChange',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('subject', models.CharField(choices=[('flag', 'flag'), ('segment', 'segment'), ('plan', 'rollout plan'), ('experiment', 'experiment')], max_length=16)),
                ('key', models.CharField(db_index=True, max_length=64)),
                ('patch', models.JSONField()),
                ('action', models.CharField(max_length=16)),
                ('why', models.TextField()),
                ('requested_at', models.DateTimeField()),
                ('requested_by_system', models.CharField(blank=True, max_length=64)),
                ('flag_version', models.PositiveIntegerField(help_text="The flag's version at the request. Approval is refused if the flag changed since.")),
                ('state', models.CharField(choices=[('pending', 'Pending'), ('approved', 'Approved'), ('rejected', 'Rejected')], default='pending', max_length=8)),
                ('decided_at', models.DateTimeField(null=True)),
                ('decided_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('flag', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='pending', to='flags.flag')),
                ('requested_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-requested_at', '-pk'],
            },
        ),
        migrations.CreateModel(
            name='Prerequisite',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('value', models.JSONField(default=flags.models.flags.default_true)),
                ('flag', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='prerequisites', to='flags.flag')),
                ('required_flag', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='required_by', to='flags.flag')),
            ],
            options={
                'ordering': ['pk'],
            },
        ),
        migrations.CreateModel(
            name='RolloutPlan',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.SlugField(max_length=64, unique=True)),
                ('description', models.CharField(blank=True, max_length=300)),
                ('state', models.CharField(choices=[('draft', 'draft'), ('running', 'running'), ('paused', 'paused'), ('rolled_back', 'rolled back'), ('finished', 'finished')], default='draft', editable=False, max_length=12)),
                ('phase', models.PositiveSmallIntegerField(default=0, editable=False, help_text='Current phase; 0: not started.')),
                ('phase_started_at', models.DateTimeField(editable=False, null=True)),
                ('changed_at', models.DateTimeField(editable=False)),
                ('flag', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='plans', to='flags.flag')),
            ],
            options={
                'ordering': ['key'],
            },
        ),
        migrations.CreateModel(
            name='RolloutPhase',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('position', models.PositiveSmallIntegerField(default=0)),
                ('percentage', models.FloatField(validators=[django.core.validators.MinValueValidator(0.0), django.core.validators.MaxValueValidator(100.0)])),
                ('hours', models.FloatField(default=336.0, help_text='Hours before the next phase; 336 is two weeks.', validators=[django.core.validators.MinValueValidator(0.0)])),
                ('note', models.CharField(blank=True, help_text='What to watch during the phase.', max_length=200)),
                ('plan', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='phases', to='flags.rolloutplan')),
            ],
            options={
                'ordering': ['position', 'pk'],
            },
        ),
        migrations.CreateModel(
            name='Guardrail',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('position', models.PositiveSmallIntegerField(default=0)),
                ('gauge', models.CharField(help_text='The metric value to check.', max_length=64)),
                ('variant', models.CharField(blank=True, help_text='Variant whose requests count; empty: all requests.', max_length=64)),
                ('bound', models.CharField(choices=[('at_most', 'at most'), ('at_least', 'at least')], default='at_most', max_length=8)),
                ('threshold', models.FloatField()),
                ('window_minutes', models.FloatField(default=60.0, help_text='Length of the window; it never starts before the phase.', validators=[django.core.validators.MinValueValidator(0.1)])),
                ('min_samples', models.PositiveIntegerField(default=100, help_text='With fewer samples there is neither a breach nor a next phase.')),
                ('on_breach', models.CharField(choices=[('roll_back', 'turn the flag off'), ('pause', 'pause the plan')], default='roll_back', max_length=10)),
                ('plan', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='guardrails', to='flags.rolloutplan')),
            ],
            options={
                'ordering': ['position', 'pk'],
            },
        ),
        migrations.CreateModel(
            name='Rule',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('position', models.PositiveSmallIntegerField(default=0)),
                ('percentage', models.FloatField(default=100.0, help_text='Percentage of the segment, 0 to 100.', validators=[django.core.validators.MinValueValidator(0.0), django.core.validators.MaxValueValidator(100.0)])),
                ('serves', models.CharField(blank=True, help_text='A variant\'s name; "default" for the default value; empty: the on value, or the variants by weight.', max_length=64)),
                ('note', models.CharField(blank=True, max_length=200)),
                ('flag', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='rules', to='flags.flag')),
                ('segment', models.ForeignKey(blank=True, help_text='Empty: all members.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='rules', to='flags.segment')),
            ],
            options={
                'ordering': ['position', 'pk'],
            },
        ),
        migrations.CreateModel(
            name='Condition',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('position', models.PositiveSmallIntegerField(default=0)),
                ('attribute', models.CharField(help_text='For example language, region, account_age_days.', max_length=64)),
                ('operator', models.CharField(choices=[('in', 'is one of'), ('not_in', 'is none of'), ('contains', 'contains one of'), ('starts_with', 'starts with one of'), ('above', 'is above'), ('at_least', 'is at least'), ('below', 'is below'), ('at_most', 'is at most'), ('version_at_least', 'is a version of at least'), ('version_below', 'is a version below'), ('known', 'is known'), ('unknown', 'is not known')], default='in', max_length=16)),
                ('values', models.JSONField(blank=True, default=list, help_text='One value per line.')),
                ('segment', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='conditions', to='flags.segment')),
            ],
            options={
                'ordering': ['position', 'pk'],
            },
        ),
        migrations.AddConstraint(
            model_name='experimentphase',
            constraint=models.UniqueConstraint(fields=('experiment', 'number'), name='one_phase_per_number'),
        ),
        migrations.AddConstraint(
            model_name='experimentphase',
            constraint=models.UniqueConstraint(condition=models.Q(('ended_at__isnull', True)), fields=('experiment',), name='one_open_phase'),
        ),
        migrations.AddConstraint(
            model_name='experimentvariant',
            constraint=models.UniqueConstraint(fields=('experiment', 'key'), name='one_variant_per_key'),
        ),
        migrations.AddConstraint(
            model_name='experimentvariant',
            constraint=models.UniqueConstraint(condition=models.Q(('is_control', True)), fields=('experiment',), name='one_control_per_experiment'),
        ),
        migrations.AddIndex(
            model_name='exposure',
            index=models.Index(fields=['experiment', 'unit_id'], name='exposures_of_unit'),
        ),
        migrations.AddIndex(
            model_name='exposure',
            index=models.Index(fields=['unit_id'], name='exposures_to_erase'),
        ),
        migrations.AddConstraint(
            model_name='exposure',
            constraint=models.UniqueConstraint(fields=('phase', 'unit_id'), name='exposed_once'),
        ),
        migrations.AddIndex(
            model_name='flagchange',
            index=models.Index(fields=['subject', 'key', '-changed_at'], name='flag_changes_by_subject'),
        ),
        migrations.AddConstraint(
            model_name='flagvariant',
            constraint=models.UniqueConstraint(fields=('flag', 'name'), name='one_flag_variant_per_name'),
        ),
        migrations.AddIndex(
            model_name='interimanalysis',
            index=models.Index(fields=['experiment', '-analyzed_at'], name='interim_analyses_newest'),
        ),
        migrations.AddConstraint(
            model_name='experiment',
            constraint=models.UniqueConstraint(condition=models.Q(('group__isnull', True), ('state__in', ['running', 'paused'])), fields=('flag',), name='one_experiment_per_flag_or_a_group'),
        ),
        migrations.AddConstraint(
            model_name='prerequisite',
            constraint=models.UniqueConstraint(fields=('flag', 'required_flag'), name='one_prerequisite_per_flag'),
        ),
        migrations.AddConstraint(
            model_name='rolloutplan',
            constraint=models.UniqueConstraint(condition=models.Q(('state__in', ['running', 'paused'])), fields=('flag',), name='one_rollout_per_flag'),
        ),
        migrations.RunPython(initial_data.add_flag, migrations.RunPython.noop),
        migrations.RunPython(initial_data.add_plan_and_history, migrations.RunPython.noop),
        migrations.RunPython(initial_data.add_experiment, migrations.RunPython.noop),
        migrations.RunPython(initial_data.run_statements(initial_data.PROTECT), initial_data.run_statements(initial_data.RELEASE)),
    ]
