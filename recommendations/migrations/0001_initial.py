import django.core.validators
import django.db.models.deletion
import re
import recommendations.models.policies
import uuid
from django.db import migrations, models

from recommendations.migrations import _initial_data as initial_data


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='ChangeLogEntry',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.PositiveSmallIntegerField(choices=[(0, 'Everything'), (1, 'Post'), (2, 'Author'), (3, 'Viewer'), (4, 'Seen')])),
                ('row_id', models.BigIntegerField(help_text='The database id of the post or member.')),
                ('position', models.BigIntegerField(help_text='PostgreSQL: the id of the transaction. SQLite uses the primary key instead.', null=True)),
            ],
            options={
                'verbose_name_plural': 'change log entries',
            },
        ),
        migrations.CreateModel(
            name='ChangeLogMark',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('position', models.BigIntegerField()),
                ('recorded_at', models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name='ErasedPost',
            fields=[
                ('post_id', models.BigIntegerField(primary_key=True, serialize=False)),
                ('erased_at', models.DateTimeField(db_index=True)),
            ],
        ),
        migrations.CreateModel(
            name='FeedRequest',
            fields=[
                ('id', models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ('feed', models.CharField(max_length=32)),
                ('engine', models.CharField(max_length=32)),
                ('variant', models.CharField(max_length=64)),
                ('policy_version', models.PositiveIntegerField()),
                ('fallback', models.CharField(blank=True, help_text='The fallback step that built the slate. Empty: none was needed.', max_length=32)),
                ('candidate_count', models.PositiveIntegerField(default=0)),
                ('duration_ms', models.FloatField(default=0.0)),
                ('post_ids', models.BinaryField(help_text='int64 (n,), in the order served.')),
                ('part_names', models.JSONField(default=list)),
                ('parts', models.BinaryField(help_text='float32 (n, parts): the score parts. Each score is the sum of its row.')),
                ('origins', models.BinaryField(help_text='uint16 (n,): bit set of the sources.')),
                ('reasons', models.BinaryField(default=b'', help_text='uint16 (n,): bit set of the reasons.')),
                ('created_at', models.DateTimeField(db_index=True)),
            ],
            options={
                'ordering': ['-created_at'],
            },
        ),
        migrations.CreateModel(
            name='Member',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('external_id', models.CharField(help_text='The id of this member on the platform.', max_length=128, unique=True)),
                ('languages', models.JSONField(blank=True, default=list, help_text='Languages that the member reads, preferred first, such as ["en", "de"]. Empty: any language.')),
                ('region', models.CharField(blank=True, help_text="Region in which the member's interactions count toward trending posts, such as DE.", max_length=16)),
                ('birth_year', models.PositiveSmallIntegerField(blank=True, null=True, validators=[django.core.validators.MinValueValidator(1900), django.core.validators.MaxValueValidator(2200)])),
                ('is_adult', models.BooleanField(blank=True, help_text='Whether the platform has verified that the member is an adult. Unknown counts as no.', null=True)),
                ('interests_reset_at', models.DateTimeField(blank=True, help_text='When the member last reset their profile. Earlier interactions are not learned from.', null=True)),
                ('is_active', models.BooleanField(default=True, help_text='An inactive member gets no feed, and their posts are hidden.')),
                ('created_at', models.DateTimeField()),
                ('changed_at', models.DateTimeField(db_index=True)),
            ],
            options={
                'ordering': ['id'],
            },
        ),
        migrations.CreateModel(
            name='Post',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('external_id', models.CharField(help_text='The id of this post on the platform.', max_length=128, unique=True)),
                ('text', models.TextField(blank=True)),
                ('media', models.JSONField(blank=True, default=list, help_text='Such as [{"kind": "image", "url": "…", "alt": "…"}].')),
                ('kind', models.CharField(default='text', help_text='Kind of post: text, image, video, film …', max_length=32, validators=[django.core.validators.RegexValidator(re.compile('^[-a-zA-Z0-9_]+\\Z'), 'Enter a valid “slug” consisting of letters, numbers, underscores or hyphens.', 'invalid')])),
                ('language', models.CharField(blank=True, help_text='Language code, such as en. Empty: unknown.', max_length=8)),
                ('tags', models.JSONField(blank=True, default=list, help_text='Topics of the post, main topic first.')),
                ('created_at', models.DateTimeField()),
                ('visibility', models.PositiveSmallIntegerField(choices=[(0, 'Public'), (1, 'Followers'), (2, 'Unlisted'), (3, 'Private')], default=0)),
                ('safety_labels', models.JSONField(blank=True, default=dict, help_text='A score from 0 to 1 for each label, such as {"violence": 0.4}. Empty: safe.')),
                ('sensitivity', models.PositiveSmallIntegerField(choices=[(0, 'Safe'), (1, 'Sensitive'), (2, 'Adult'), (3, 'Forbidden')], default=0, help_text='Derived from the safety labels when the post is published.')),
                ('removed_at', models.DateTimeField(blank=True, help_text='When the post was removed. Empty: the post is not removed.', null=True)),
                ('changed_at', models.DateTimeField(db_index=True, help_text='Processes read the posts that changed after their last refresh.')),
                ('author', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='posts', to='recommendations.member')),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='ChangeLogTruncation',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('position', models.BigIntegerField(default=0)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('pk', 1)), name='one_change_log_truncation')],
            },
        ),
        migrations.CreateModel(
            name='EmbeddingModel',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('space', models.CharField(help_text='Name of the vector space: content, image …', max_length=16)),
                ('name', models.CharField(help_text='The embedding model, with its version.', max_length=128)),
                ('embedder', models.CharField(help_text='The embedder that loads the model, as in EMBEDDER. supplied: the platform sends the vectors.', max_length=32)),
                ('option', models.CharField(blank=True, help_text='The name of the model, for an embedder that has several.', max_length=128)),
                ('dimension', models.PositiveIntegerField()),
                ('state', models.CharField(choices=[('building', 'building: posts get vectors from it, serving does not use them'), ('active', 'active: serving uses its vectors'), ('retired', 'retired: its vectors are stored and can be activated again')], default='building', max_length=16)),
                ('embedded_count', models.PositiveIntegerField(default=0, help_text='Posts with a vector from this model, when last counted.')),
                ('post_count', models.PositiveIntegerField(default=0, help_text='Posts that need a vector, when last counted.')),
                ('indexed_until', models.DateTimeField(blank=True, help_text='Changes before this time are in the vector index. Empty: the index is rebuilt from the start.', null=True)),
                ('created_at', models.DateTimeField()),
                ('activated_at', models.DateTimeField(blank=True, null=True)),
                ('changed_at', models.DateTimeField()),
            ],
            options={
                'ordering': ['space', 'state', '-created_at'],
                'constraints': [models.UniqueConstraint(fields=('space', 'name'), name='one_embedding_model_per_name'), models.UniqueConstraint(condition=models.Q(('state', 'active')), fields=('space',), name='one_active_embedding_model')],
            },
        ),
        migrations.CreateModel(
            name='FeedHour',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('hour', models.DateTimeField(help_text='Start of the hour.')),
                ('feed', models.CharField(max_length=32)),
                ('engine', models.CharField(max_length=32)),
                ('variant', models.CharField(max_length=64)),
                ('slate_count', models.PositiveIntegerField(default=0, help_text='Slates that were built.')),
                ('p50_ms', models.FloatField(default=0.0, help_text='Median time to build a slate, in milliseconds.')),
                ('p95_ms', models.FloatField(default=0.0, help_text='95th percentile of the time to build a slate.')),
                ('fallback_count', models.PositiveIntegerField(default=0, help_text='Slates that a fallback step built.')),
                ('empty_count', models.PositiveIntegerField(default=0, help_text='Slates without a post.')),
                ('page_count', models.PositiveIntegerField(default=0, help_text='Pages that were served, from fresh and cached slates.')),
                ('served_count', models.PositiveIntegerField(default=0, help_text='Posts on those pages.')),
                ('engagement_count', models.PositiveIntegerField(default=0, help_text='Positive interactions received in this hour that name a request of this variant.')),
            ],
            options={
                'ordering': ['-hour', 'feed', 'engine', 'variant'],
                'constraints': [models.UniqueConstraint(fields=('hour', 'feed', 'engine', 'variant'), name='one_row_per_hour_and_variant')],
            },
        ),
        migrations.CreateModel(
            name='FeedInputs',
            fields=[
                ('request', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='inputs', serialize=False, to='recommendations.feedrequest')),
                ('packed_inputs', models.BinaryField(help_text='Packed by services/serving/inputs.py and compressed with zlib.')),
                ('created_at', models.DateTimeField(db_index=True)),
            ],
            options={
                'verbose_name_plural': 'feed inputs',
            },
        ),
        migrations.CreateModel(
            name='ImportCheckpoint',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(help_text='members, posts, interactions or relationships.', max_length=16)),
                ('sha256', models.CharField(max_length=64)),
                ('offset', models.BigIntegerField(default=0, help_text='Byte at which the next row starts.')),
                ('line', models.BigIntegerField(default=1, help_text='Line at which the next row starts.')),
                ('errors_size', models.BigIntegerField(default=0, help_text='Size in bytes of the errors file at this position. A resumed import cuts the file to this size.')),
                ('created', models.PositiveBigIntegerField(default=0)),
                ('updated', models.PositiveBigIntegerField(default=0)),
                ('unchanged', models.PositiveBigIntegerField(default=0)),
                ('rejected', models.PositiveBigIntegerField(default=0)),
                ('started_at', models.DateTimeField()),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'ordering': ['-started_at'],
                'constraints': [models.UniqueConstraint(fields=('kind', 'sha256'), name='one_checkpoint_per_file')],
            },
        ),
        migrations.CreateModel(
            name='InterestProfile',
            fields=[
                ('member', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='interests', serialize=False, to='recommendations.member')),
                ('embedding_model', models.CharField(help_text='The embedding model whose space the vectors are in.', max_length=128)),
                ('dimension', models.PositiveIntegerField()),
                ('positive', models.BinaryField(help_text='float32 (k, dimension): decayed sums, one row for each interest.')),
                ('positive_mass', models.BinaryField(help_text='float32 (k,): the decayed weight behind each row.')),
                ('negative', models.BinaryField(help_text='float32 (m, dimension).')),
                ('negative_mass', models.BinaryField(help_text='float32 (m,).')),
                ('session', models.BinaryField(default=b'', help_text='float32 (dimension,): the decayed sum of the current session.')),
                ('session_at', models.DateTimeField(blank=True, null=True)),
                ('affinities', models.JSONField(default=dict, help_text='Decayed sums by author, topic and kind, at the moment reference_at.')),
                ('reference_at', models.DateTimeField()),
                ('interaction_count', models.PositiveIntegerField(default=0, help_text='How many interactions the profile was learned from.')),
                ('changed_at', models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name='PrivacySettings',
            fields=[
                ('member', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='privacy', serialize=False, to='recommendations.member')),
                ('is_private', models.BooleanField(default=False, help_text="Whether only followers can see this member's posts.")),
                ('is_personalized', models.BooleanField(default=True, help_text='If off, feeds do not use what this member did, and nothing is learned from it.')),
                ('sensitivity', models.PositiveSmallIntegerField(choices=[(0, 'Safe'), (1, 'Sensitive'), (2, 'Adult')], default=0, help_text='The most sensitive content to show. Adult content also requires a known adult.')),
                ('muted_words', models.JSONField(blank=True, default=list, help_text='Posts that contain one of these words are hidden.')),
                ('muted_tags', models.JSONField(blank=True, default=list, help_text='Posts with one of these tags are hidden.')),
                ('changed_at', models.DateTimeField(db_index=True)),
            ],
            options={
                'verbose_name_plural': 'privacy settings',
            },
        ),
        migrations.AddField(
            model_name='feedrequest',
            name='member',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='feed_requests', to='recommendations.member'),
        ),
        migrations.CreateModel(
            name='Job',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(choices=[('batch_feeds', 'discovery feeds for all members'), ('member_feed', 'feed for one member'), ('embed_posts', 'embed posts'), ('rebuild_interests', 'rebuild interests from the whole history'), ('reindex', 'rebuild the vector index'), ('export_members', 'export all data about members'), ('erase_members', 'erase members with their posts and activity'), ('erase_posts', 'erase posts')], max_length=32)),
                ('state', models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], default='queued', max_length=16)),
                ('params', models.JSONField(blank=True, default=dict)),
                ('idempotency_key', models.CharField(blank=True, max_length=200, null=True, unique=True)),
                ('total', models.PositiveIntegerField(default=0, help_text='Items to process.')),
                ('done', models.PositiveIntegerField(default=0)),
                ('failed', models.PositiveIntegerField(default=0)),
                ('errors', models.JSONField(blank=True, default=list, help_text='The first few errors, each an object.')),
                ('result', models.JSONField(blank=True, default=dict)),
                ('created_at', models.DateTimeField()),
                ('started_at', models.DateTimeField(blank=True, null=True)),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('cancel_requested_at', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'ordering': ['-created_at'],
                'indexes': [models.Index(fields=['state', 'created_at'], name='jobs_by_state')],
            },
        ),
        migrations.CreateModel(
            name='JobChunk',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.PositiveIntegerField()),
                ('item_ids', models.JSONField(help_text='Database ids of the members or posts to process.')),
                ('state', models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], default='queued', max_length=16)),
                ('attempts', models.PositiveSmallIntegerField(default=0)),
                ('leased_until', models.DateTimeField(blank=True, help_text='Until this time the chunk belongs to one worker. After it, any worker may claim the chunk.', null=True)),
                ('error', models.TextField(blank=True)),
                ('job', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='chunks', to='recommendations.job')),
            ],
            options={
                'ordering': ['job', 'number'],
            },
        ),
        migrations.CreateModel(
            name='JobFile',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('content', models.BinaryField(help_text='JSON, compressed with zlib.')),
                ('created_at', models.DateTimeField(db_index=True)),
                ('job', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='files', to='recommendations.job')),
                ('member', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='recommendations.member')),
            ],
        ),
        migrations.CreateModel(
            name='PostStats',
            fields=[
                ('post', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='stats', serialize=False, to='recommendations.post')),
                ('engagement', models.FloatField(default=0.0)),
                ('engagement_at', models.DateTimeField()),
                ('interaction_count', models.PositiveIntegerField(default=0)),
                ('positive_count', models.PositiveIntegerField(default=0, help_text='Interactions in favor of the post: likes, shares …')),
                ('served_count', models.PositiveIntegerField(default=0, help_text='How often the post was on a served page.')),
                ('changed_at', models.DateTimeField(db_index=True)),
            ],
            options={
                'verbose_name_plural': 'post stats',
            },
        ),
        migrations.CreateModel(
            name='NegativeFeedback',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('target', models.CharField(choices=[('post', 'post'), ('author', 'author'), ('topic', 'topic'), ('kind', 'kind')], max_length=8)),
                ('target_key', models.CharField(help_text='The database id of the post or author, the tag, or the kind of post.', max_length=128)),
                ('event_id', models.CharField(db_index=True, max_length=128)),
                ('created_at', models.DateTimeField()),
                ('member', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='negative_feedback', to='recommendations.member')),
                ('post', models.ForeignKey(help_text='The post that the feedback was given on.', on_delete=django.db.models.deletion.CASCADE, related_name='+', to='recommendations.post')),
            ],
            options={
                'verbose_name_plural': 'negative feedback',
            },
        ),
        migrations.CreateModel(
            name='Interaction',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('event_id', models.CharField(max_length=128, unique=True)),
                ('kind', models.CharField(choices=[('view', 'view'), ('click', 'click'), ('dwell', 'dwell'), ('like', 'like'), ('comment', 'comment'), ('share', 'share'), ('save', 'save'), ('follow', 'follow'), ('hide', 'hide'), ('not_interested', 'not interested'), ('report', 'report')], max_length=16)),
                ('value', models.FloatField(blank=True, help_text='Seconds for a dwell, stars for a rating; otherwise empty.', null=True)),
                ('occurred_at', models.DateTimeField()),
                ('received_at', models.DateTimeField()),
                ('target', models.CharField(blank=True, choices=[('author', 'author'), ('topic', 'topic'), ('kind', 'kind')], help_text='What a not_interested is about. Empty: the content of the post.', max_length=8)),
                ('request_id', models.UUIDField(blank=True, help_text='The feed request that served the post.', null=True)),
                ('undone_at', models.DateTimeField(blank=True, help_text='When the member undid the interaction.', null=True)),
                ('is_learned', models.BooleanField(default=False, help_text='Whether the interests and counts include the interaction.')),
                ('member', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='interactions', to='recommendations.member')),
                ('post', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='interactions', to='recommendations.post')),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='EmbeddingFailure',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('space', models.CharField(max_length=16)),
                ('embedding_model', models.CharField(max_length=128)),
                ('attempts', models.PositiveSmallIntegerField(default=0)),
                ('error', models.CharField(help_text='The type of the error. The message may quote the text and is not stored.', max_length=64)),
                ('retry_at', models.DateTimeField(blank=True, help_text='When it is retried. Empty: dead-lettered until an operator retries it.', null=True)),
                ('changed_at', models.DateTimeField()),
                ('post', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='embedding_failures', to='recommendations.post')),
            ],
            options={
                'ordering': ['-changed_at'],
            },
        ),
        migrations.CreateModel(
            name='PostEmbedding',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('space', models.CharField(default='content', help_text='Name of the vector space: content, image …', max_length=16)),
                ('embedding_model', models.CharField(help_text='The embedding model, with its version.', max_length=128)),
                ('dimension', models.PositiveIntegerField()),
                ('vector', models.BinaryField(help_text='float32, little-endian, unit length. Zero if there is nothing to embed.')),
                ('version', models.PositiveIntegerField(default=1, help_text='Increases by 1 each time the vector is replaced.')),
                ('changed_at', models.DateTimeField()),
                ('post', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='embeddings', to='recommendations.post')),
            ],
        ),
        migrations.CreateModel(
            name='RankingPolicy',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('variant', models.SlugField(help_text='Name of the variant, such as control, wasm_conservative or wasm_aggressive.', max_length=64)),
                ('version', models.PositiveIntegerField(default=1)),
                ('settings', models.JSONField(default=recommendations.models.policies.default_settings, validators=[recommendations.models.policies.validate_settings])),
                ('is_active', models.BooleanField(default=False, help_text='Whether feeds use this version. Each variant has one active version.')),
                ('note', models.CharField(blank=True, help_text='Reason for this version.', max_length=200)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'verbose_name_plural': 'ranking policies',
                'ordering': ['variant', '-version'],
                'constraints': [models.UniqueConstraint(fields=('variant', 'version'), name='one_policy_per_version'), models.UniqueConstraint(condition=models.Q(('is_active', True)), fields=('variant',), name='one_active_policy_per_variant')],
            },
        ),
        migrations.CreateModel(
            name='RegionStats',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('region', models.CharField(max_length=16)),
                ('engagement', models.FloatField(default=0.0)),
                ('engagement_at', models.DateTimeField()),
                ('changed_at', models.DateTimeField(db_index=True)),
                ('post', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='region_stats', to='recommendations.post')),
            ],
            options={
                'verbose_name_plural': 'region stats',
            },
        ),
        migrations.CreateModel(
            name='Relationship',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('follow', 'Follow'), ('block', 'Block'), ('mute', 'Mute')], max_length=8)),
                ('created_at', models.DateTimeField()),
                ('source', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='outgoing_relationships', to='recommendations.member')),
                ('target', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='incoming_relationships', to='recommendations.member')),
            ],
        ),
        migrations.CreateModel(
            name='SeenPost',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('seen_at', models.DateTimeField()),
                ('member', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='seen_posts', to='recommendations.member')),
                ('post', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='recommendations.post')),
            ],
            options={
                'verbose_name_plural': 'seen posts',
            },
        ),
        migrations.CreateModel(
            name='ServedPage',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('request_id', models.UUIDField(help_text='The feed request whose slate the page is from.')),
                ('offset', models.PositiveIntegerField(help_text='How many picks of the slate come before the page.')),
                ('post_ids', models.BinaryField(help_text='int64 (n,), in the order served.')),
                ('created_at', models.DateTimeField(db_index=True)),
                ('member', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='served_pages', to='recommendations.member')),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='Undo',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('event_id', models.CharField(max_length=128, unique=True)),
                ('undoes_event_id', models.CharField(db_index=True, max_length=128)),
                ('received_at', models.DateTimeField(db_index=True)),
                ('member', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='recommendations.member')),
            ],
        ),
        migrations.AddIndex(
            model_name='feedrequest',
            index=models.Index(fields=['member', '-created_at'], name='feed_requests_by_member'),
        ),
        migrations.AddIndex(
            model_name='jobchunk',
            index=models.Index(fields=['state', 'leased_until'], name='chunks_by_lease'),
        ),
        migrations.AddConstraint(
            model_name='jobchunk',
            constraint=models.UniqueConstraint(fields=('job', 'number'), name='one_chunk_per_number'),
        ),
        migrations.AddConstraint(
            model_name='jobfile',
            constraint=models.UniqueConstraint(fields=('job', 'member'), name='one_file_per_member'),
        ),
        migrations.AddIndex(
            model_name='post',
            index=models.Index(fields=['author', '-created_at'], name='posts_by_author'),
        ),
        migrations.AddIndex(
            model_name='post',
            index=models.Index(fields=['-created_at'], name='posts_by_age'),
        ),
        migrations.AddConstraint(
            model_name='negativefeedback',
            constraint=models.UniqueConstraint(fields=('member', 'target', 'target_key', 'event_id'), name='one_negative_feedback_per_event'),
        ),
        migrations.AddIndex(
            model_name='interaction',
            index=models.Index(fields=['member', '-occurred_at'], name='interactions_by_member'),
        ),
        migrations.AddIndex(
            model_name='interaction',
            index=models.Index(condition=models.Q(('is_learned', False)), fields=['member'], name='unlearned_interactions'),
        ),
        migrations.AddIndex(
            model_name='embeddingfailure',
            index=models.Index(fields=['space', 'embedding_model', 'retry_at'], name='embedding_failures_by_model'),
        ),
        migrations.AddConstraint(
            model_name='embeddingfailure',
            constraint=models.UniqueConstraint(fields=('post', 'space', 'embedding_model'), name='one_failure_per_post_and_model'),
        ),
        migrations.AddIndex(
            model_name='postembedding',
            index=models.Index(fields=['space', 'embedding_model', 'changed_at'], name='embeddings_by_change'),
        ),
        migrations.AddConstraint(
            model_name='postembedding',
            constraint=models.UniqueConstraint(fields=('post', 'space', 'embedding_model'), name='one_embedding_per_space_and_model'),
        ),
        migrations.AddConstraint(
            model_name='postembedding',
            constraint=models.CheckConstraint(condition=models.Q(('dimension__gte', 8), ('dimension__lte', 4096)), name='dimension_8_to_4096'),
        ),
        migrations.AddConstraint(
            model_name='regionstats',
            constraint=models.UniqueConstraint(fields=('post', 'region'), name='one_engagement_per_region'),
        ),
        migrations.AddIndex(
            model_name='relationship',
            index=models.Index(fields=['target', 'kind', 'source'], name='relationships_by_target'),
        ),
        migrations.AddConstraint(
            model_name='relationship',
            constraint=models.UniqueConstraint(fields=('source', 'kind', 'target'), name='one_relationship_per_kind'),
        ),
        migrations.AddConstraint(
            model_name='relationship',
            constraint=models.CheckConstraint(condition=models.Q(('source', models.F('target')), _negated=True), name='no_self_relationship'),
        ),
        migrations.AddIndex(
            model_name='seenpost',
            index=models.Index(fields=['member', '-seen_at', 'post'], name='seen_posts_newest_first'),
        ),
        migrations.AddConstraint(
            model_name='seenpost',
            constraint=models.UniqueConstraint(fields=('member', 'post'), name='one_seen_post_per_member'),
        ),
        migrations.AddIndex(
            model_name='servedpage',
            index=models.Index(fields=['member', '-created_at'], name='served_pages_by_member'),
        ),
        migrations.AddConstraint(
            model_name='servedpage',
            constraint=models.UniqueConstraint(fields=('request_id', 'offset', 'created_at'), name='one_row_per_page_served'),
        ),
        migrations.RunPython(initial_data.add_policies, migrations.RunPython.noop),
    ]
