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
                ('row_id', models.BigIntegerField(help_text='The number of the post or member.')),
                ('position', models.BigIntegerField(help_text="PostgreSQL: the number of the transaction. SQLite goes by the row's own.", null=True)),
            ],
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
                ('fallback', models.CharField(blank=True, help_text='Which step of the fallback served, if any.', max_length=32)),
                ('candidate_count', models.PositiveIntegerField(default=0)),
                ('duration_ms', models.FloatField(default=0.0)),
                ('post_ids', models.BinaryField(help_text='int64 (n,), in the order served.')),
                ('part_names', models.JSONField(default=list)),
                ('parts', models.BinaryField(help_text='float32 (n, parts): what each score is the sum of.')),
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
                ('external_id', models.CharField(help_text="The platform's own id of this member.", max_length=128, unique=True)),
                ('languages', models.JSONField(blank=True, default=list, help_text='Languages the member reads, best first, such as ["en", "de"]. Empty: any.')),
                ('region', models.CharField(blank=True, help_text='Region that trending is counted in, such as DE.', max_length=16)),
                ('birth_year', models.PositiveSmallIntegerField(blank=True, null=True, validators=[django.core.validators.MinValueValidator(1900), django.core.validators.MaxValueValidator(2200)])),
                ('is_adult', models.BooleanField(blank=True, help_text='Whether the platform vouches for an adult. Unknown counts as no.', null=True)),
                ('interests_reset_at', models.DateTimeField(blank=True, help_text='Acts before this are not learned from: the member reset their profile.', null=True)),
                ('is_active', models.BooleanField(default=True, help_text='An inactive member gets no feed and its posts are hidden.')),
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
                ('external_id', models.CharField(help_text="The platform's own id of this post.", max_length=128, unique=True)),
                ('text', models.TextField(blank=True)),
                ('media', models.JSONField(blank=True, default=list, help_text='Such as [{"kind": "image", "url": "…", "alt": "…"}].')),
                ('kind', models.CharField(default='text', help_text='Format: text, image, video, film …', max_length=32, validators=[django.core.validators.RegexValidator(re.compile('^[-a-zA-Z0-9_]+\\Z'), 'Enter a valid “slug” consisting of letters, numbers, underscores or hyphens.', 'invalid')])),
                ('language', models.CharField(blank=True, help_text='Such as en. Empty: unknown.', max_length=8)),
                ('tags', models.JSONField(blank=True, default=list, help_text='Topics, the main one first.')),
                ('created_at', models.DateTimeField()),
                ('visibility', models.PositiveSmallIntegerField(choices=[(0, 'Public'), (1, 'Followers'), (2, 'Unlisted'), (3, 'Private')], default=0)),
                ('safety_labels', models.JSONField(blank=True, default=dict, help_text='Label to score from 0 to 1, such as {"violence": 0.4}. Empty: clean.')),
                ('sensitivity', models.PositiveSmallIntegerField(choices=[(0, 'Safe'), (1, 'Sensitive'), (2, 'Adult'), (3, 'Forbidden')], default=0, help_text='Derived from the labels when a post is published.')),
                ('removed_at', models.DateTimeField(blank=True, help_text='Set when the post was taken down.', null=True)),
                ('changed_at', models.DateTimeField(db_index=True, help_text='Every process follows the catalogue by this.')),
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
                'constraints': [models.CheckConstraint(condition=models.Q(('pk', 1)), name='one_change_cut')],
            },
        ),
        migrations.CreateModel(
            name='EmbeddingModel',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('space', models.CharField(help_text='What is embedded: content, image …', max_length=16)),
                ('name', models.CharField(help_text='The embedder, with its version.', max_length=128)),
                ('embedder', models.CharField(help_text='What loads it, as in EMBEDDER; supplied: the platform sends the vectors.', max_length=32)),
                ('option', models.CharField(blank=True, help_text="Which of the embedder's models, if it has many.", max_length=128)),
                ('dimension', models.PositiveIntegerField()),
                ('state', models.CharField(choices=[('building', 'building: posts get its vectors, nothing is served by them'), ('active', 'active: the one that serves'), ('retired', 'retired: its vectors are kept, and serve again if it comes back')], default='building', max_length=16)),
                ('embedded_count', models.PositiveIntegerField(default=0, help_text='Posts that have its vector, when last counted.')),
                ('post_count', models.PositiveIntegerField(default=0, help_text='Posts that should, when last counted.')),
                ('indexed_until', models.DateTimeField(blank=True, help_text='Changes before it are in the vector index. Empty: it is built anew.', null=True)),
                ('created_at', models.DateTimeField()),
                ('activated_at', models.DateTimeField(blank=True, null=True)),
                ('changed_at', models.DateTimeField()),
            ],
            options={
                'ordering': ['space', 'state', '-created_at'],
                'constraints': [models.UniqueConstraint(fields=('space', 'name'), name='one_row_per_space_and_model'), models.UniqueConstraint(condition=models.Q(('state', 'active')), fields=('space',), name='one_active_model_per_space')],
            },
        ),
        migrations.CreateModel(
            name='FeedHour',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('hour', models.DateTimeField(help_text='Its beginning.')),
                ('feed', models.CharField(max_length=32)),
                ('engine', models.CharField(max_length=32)),
                ('variant', models.CharField(max_length=64)),
                ('slate_count', models.PositiveIntegerField(default=0, help_text='Slates that were made.')),
                ('p50_ms', models.FloatField(default=0.0, help_text='Half of them took no longer.')),
                ('p95_ms', models.FloatField(default=0.0)),
                ('fallback_count', models.PositiveIntegerField(default=0, help_text='Slates that a step of the fallback made.')),
                ('empty_count', models.PositiveIntegerField(default=0, help_text='Slates without a post.')),
                ('page_count', models.PositiveIntegerField(default=0, help_text='Pages that were served, fresh or cached.')),
                ('served_count', models.PositiveIntegerField(default=0, help_text='Posts on those pages.')),
                ('engagement_count', models.PositiveIntegerField(default=0, help_text='Acts that speak for a post and name a request of this variant, received in this hour.')),
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
                ('packed_inputs', models.BinaryField(help_text='Packed by services/explaining/replay.py, deflated.')),
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
                ('kind', models.CharField(help_text='members, posts, interactions or follows.', max_length=16)),
                ('sha256', models.CharField(max_length=64)),
                ('offset', models.BigIntegerField(default=0, help_text='Byte where the next row starts.')),
                ('line', models.BigIntegerField(default=1, help_text='Line where the next row starts.')),
                ('errors_size', models.BigIntegerField(default=0, help_text='Bytes of the errors file that stand for good.')),
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
                ('embedding_model', models.CharField(help_text='The embedder whose space the vectors are in.', max_length=128)),
                ('dimension', models.PositiveIntegerField()),
                ('positive', models.BinaryField(help_text='float32 (k, dimension): decayed sums, one row per interest.')),
                ('positive_mass', models.BinaryField(help_text='float32 (k,): the decayed weight behind each row.')),
                ('negative', models.BinaryField(help_text='float32 (m, dimension).')),
                ('negative_mass', models.BinaryField(help_text='float32 (m,).')),
                ('session', models.BinaryField(default=b'', help_text='float32 (dimension,): the same for the last half hour.')),
                ('session_at', models.DateTimeField(blank=True, null=True)),
                ('affinities', models.JSONField(default=dict, help_text='Decayed sums by author, topic and format, as they stand at the reference.')),
                ('reference_at', models.DateTimeField()),
                ('interaction_count', models.PositiveIntegerField(default=0, help_text='How many interactions went into it.')),
                ('changed_at', models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name='PrivacySettings',
            fields=[
                ('member', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='privacy', serialize=False, to='recommendations.member')),
                ('is_private', models.BooleanField(default=False, help_text="Only followers see this member's posts.")),
                ('is_personalized', models.BooleanField(default=True, help_text='Off: feeds use nothing that this member did, and nothing is learned.')),
                ('sensitivity', models.PositiveSmallIntegerField(choices=[(0, 'Safe'), (1, 'Sensitive'), (2, 'Adult')], default=0, help_text='The most sensitive content this member wants. Adult content also needs a known adult.')),
                ('muted_words', models.JSONField(blank=True, default=list, help_text='Posts with one of these words are hidden.')),
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
                ('kind', models.CharField(choices=[('batch_feeds', 'a discovery feed for every member'), ('member_feed', "one member's feed"), ('embed_posts', 'embeddings of posts'), ('rebuild_interests', 'interests from the whole history'), ('reindex', 'vectors of posts into the vector index'), ('export_members', 'all that is held about members'), ('erase_members', 'erasure of members and of all they wrote and did'), ('erase_posts', 'erasure of posts')], max_length=32)),
                ('state', models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], default='queued', max_length=16)),
                ('params', models.JSONField(blank=True, default=dict)),
                ('idempotency_key', models.CharField(blank=True, max_length=200, null=True, unique=True)),
                ('total', models.PositiveIntegerField(default=0, help_text='Items to do.')),
                ('done', models.PositiveIntegerField(default=0)),
                ('failed', models.PositiveIntegerField(default=0)),
                ('errors', models.JSONField(blank=True, default=list, help_text='The first few errors, as data.')),
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
                ('item_ids', models.JSONField(help_text='Database ids of the members or posts to work on.')),
                ('state', models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], default='queued', max_length=16)),
                ('attempts', models.PositiveSmallIntegerField(default=0)),
                ('leased_until', models.DateTimeField(blank=True, help_text="Until then it is with a worker or on its way to one; after it, anyone's.", null=True)),
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
                ('content', models.BinaryField(help_text='JSON, deflated.')),
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
                ('positive_count', models.PositiveIntegerField(default=0, help_text='Acts that speak for the post: likes, shares …')),
                ('served_count', models.PositiveIntegerField(default=0, help_text='Times that it was on a page we served.')),
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
                ('target', models.CharField(choices=[('post', 'post'), ('author', 'author'), ('topic', 'topic'), ('format', 'format')], max_length=8)),
                ('target_key', models.CharField(help_text="The post's or author's number, the tag, or the format.", max_length=128)),
                ('event_id', models.CharField(db_index=True, max_length=128)),
                ('created_at', models.DateTimeField()),
                ('member', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='negative_feedback', to='recommendations.member')),
                ('post', models.ForeignKey(help_text='The post it was said of.', on_delete=django.db.models.deletion.CASCADE, related_name='+', to='recommendations.post')),
            ],
            options={
                'verbose_name_plural': 'less of',
            },
        ),
        migrations.CreateModel(
            name='Interaction',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('event_id', models.CharField(max_length=128, unique=True)),
                ('kind', models.CharField(choices=[('view', 'view'), ('click', 'click'), ('dwell', 'dwell'), ('like', 'like'), ('comment', 'comment'), ('share', 'share'), ('save', 'save'), ('follow', 'follow'), ('hide', 'hide'), ('not_interested', 'not interested'), ('report', 'report')], max_length=16)),
                ('value', models.FloatField(blank=True, help_text='Seconds of a dwell, stars of a rating; else empty.', null=True)),
                ('occurred_at', models.DateTimeField()),
                ('received_at', models.DateTimeField()),
                ('target', models.CharField(blank=True, choices=[('author', 'author'), ('topic', 'topic'), ('format', 'format')], help_text='What of the post a not-interested is about; empty: what it says.', max_length=8)),
                ('request_id', models.UUIDField(blank=True, help_text='The feed request that the post was served by.', null=True)),
                ('undone_at', models.DateTimeField(blank=True, help_text='When the member took it back.', null=True)),
                ('is_learned', models.BooleanField(default=False, help_text='Whether interests and counts already hold it.')),
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
                ('error', models.CharField(help_text="The error's type; its message may hold the text, and is not kept.", max_length=64)),
                ('retry_at', models.DateTimeField(blank=True, help_text='Empty: parked until someone asks for another try.', null=True)),
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
                ('space', models.CharField(default='content', help_text='What is embedded: content, image …', max_length=16)),
                ('embedding_model', models.CharField(help_text='The embedder, with its version.', max_length=128)),
                ('dimension', models.PositiveIntegerField()),
                ('vector', models.BinaryField(help_text='float32, little endian, unit length (or zero: nothing to embed).')),
                ('version', models.PositiveIntegerField(default=1, help_text='Counts up each time the vector is made anew.')),
                ('changed_at', models.DateTimeField()),
                ('post', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='embeddings', to='recommendations.post')),
            ],
        ),
        migrations.CreateModel(
            name='RankingPolicy',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('variant', models.SlugField(help_text='Such as control, wasm_conservative, wasm_aggressive.', max_length=64)),
                ('version', models.PositiveIntegerField(default=1)),
                ('settings', models.JSONField(default=recommendations.models.policies.default_settings, validators=[recommendations.models.policies.validate_settings])),
                ('is_active', models.BooleanField(default=False, help_text='The version that is served; one per variant.')),
                ('note', models.CharField(blank=True, help_text='Why this version.', max_length=200)),
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
                ('source', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='relationships', to='recommendations.member')),
                ('target', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='related_by', to='recommendations.member')),
            ],
        ),
        migrations.CreateModel(
            name='SeenPost',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('seen_at', models.DateTimeField()),
                ('member', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='seen', to='recommendations.member')),
                ('post', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='recommendations.post')),
            ],
            options={
                'verbose_name_plural': 'seen',
            },
        ),
        migrations.CreateModel(
            name='ServedPage',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('request_id', models.UUIDField(help_text='The feed request whose slate it is a page of.')),
                ('offset', models.PositiveIntegerField(help_text='Picks of the slate that came before it.')),
                ('post_ids', models.BinaryField(help_text='int64 (n,), in the order shown.')),
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
            index=models.Index(fields=['member', '-created_at'], name='requests_of_member'),
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
            constraint=models.UniqueConstraint(fields=('member', 'target', 'target_key', 'event_id'), name='one_wish_per_event'),
        ),
        migrations.AddIndex(
            model_name='interaction',
            index=models.Index(fields=['member', '-occurred_at'], name='interactions_of_member'),
        ),
        migrations.AddIndex(
            model_name='interaction',
            index=models.Index(condition=models.Q(('is_learned', False)), fields=['member'], name='interactions_to_learn'),
        ),
        migrations.AddIndex(
            model_name='embeddingfailure',
            index=models.Index(fields=['space', 'embedding_model', 'retry_at'], name='failures_by_model'),
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
            index=models.Index(fields=['target', 'kind', 'source'], name='related_by'),
        ),
        migrations.AddConstraint(
            model_name='relationship',
            constraint=models.UniqueConstraint(fields=('source', 'kind', 'target'), name='one_relationship_of_a_kind'),
        ),
        migrations.AddConstraint(
            model_name='relationship',
            constraint=models.CheckConstraint(condition=models.Q(('source', models.F('target')), _negated=True), name='not_related_to_oneself'),
        ),
        migrations.AddIndex(
            model_name='seenpost',
            index=models.Index(fields=['member', '-seen_at', 'post'], name='seen_newest_first'),
        ),
        migrations.AddConstraint(
            model_name='seenpost',
            constraint=models.UniqueConstraint(fields=('member', 'post'), name='seen_once'),
        ),
        migrations.AddIndex(
            model_name='servedpage',
            index=models.Index(fields=['member', '-created_at'], name='pages_of_member'),
        ),
        migrations.AddConstraint(
            model_name='servedpage',
            constraint=models.UniqueConstraint(fields=('request_id', 'offset', 'created_at'), name='one_row_per_page_served'),
        ),
        migrations.RunPython(initial_data.add_policies, migrations.RunPython.noop),
    ]
