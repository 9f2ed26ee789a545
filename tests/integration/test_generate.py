"""`generate` inserts the generated platform in one transaction and rejects a database with members."""

import hashlib
from datetime import UTC, datetime
from io import StringIO

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.db.models import Count, F

from recommendations.contracts import Visibility
from recommendations.embedders.tiny import TinyText
from recommendations.models import Interaction, Member, Post, PostEmbedding, PrivacySettings, Relationship
from recommendations.services.content import generate as service
from recommendations.services.content.generate import DatabaseNotEmptyError, VectorSettings, generate
from recommendations.services.content.generating.draws import PlatformSize, PlatformTooSmallError
from recommendations.services.content.safety import classify_sensitivity

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
SIZE = PlatformSize(members=200, posts=900, interactions=5_000, follows=1_500, blocks=40, mutes=20, seed=3)


def generate_platform(size=SIZE, vectors=None, **options):
    generate(size=size, now=NOW, vectors=vectors, progress=lambda name, done, total: None, **options)


def digest():
    """Return a hash of all values but the primary keys, in a fixed order."""
    tables = [
        Member.objects.values_list("external_id", "languages", "region", "birth_year", "is_adult", "created_at"),
        PrivacySettings.objects.order_by("pk").values_list("is_private", "sensitivity", "muted_tags"),
        Post.objects.order_by("external_id").values_list("external_id", "text", "tags", "visibility", "created_at"),
        Relationship.objects.order_by("id").values_list("source__external_id", "kind", "target__external_id"),
        Interaction.objects.order_by("id").values_list(
            "event_id", "member__external_id", "post__external_id", "kind", "value", "occurred_at"
        ),
    ]
    return hashlib.sha256(repr([list(table) for table in tables]).encode()).hexdigest()


def test_the_counts_are_those_of_the_size():
    generate_platform()
    assert Member.objects.count() == PrivacySettings.objects.count() == 200
    assert (Post.objects.count(), Interaction.objects.count()) == (900, 5_000)
    followed = set(Interaction.objects.filter(kind="follow").values_list("member", "post__author"))
    follows = Relationship.objects.filter(kind="follow")
    made = follows.exclude(created_at=NOW).count()  # a follow of an interaction is from now
    assert made == 1_500 and followed <= set(follows.values_list("source", "target")) and follows.count() > made
    kinds = dict(Relationship.objects.exclude(kind="follow").values_list("kind").annotate(Count("id")).order_by())
    assert kinds == {"block": 40, "mute": 20}


def test_the_same_seed_gives_the_same_platform():
    generate_platform()
    first = digest()
    Member.objects.all().delete()
    generate_platform()
    assert digest() == first


def test_the_rows_pass_model_validation():
    generate_platform()
    for post in Post.objects.all():
        post.full_clean()
        assert post.sensitivity == classify_sensitivity(post.safety_labels)
    for member in Member.objects.select_related("privacy"):
        member.full_clean()
        member.privacy.full_clean()
    for interaction in Interaction.objects.all()[:500]:
        interaction.full_clean()
    assert set(Post.objects.values_list("visibility", flat=True)) == set(Visibility)


def test_the_columns_of_a_row_match():
    """Each column obeys a rule with another column, so a column in a different order breaks a rule."""
    generate_platform()
    posts, interactions = Post.objects.all(), Interaction.objects.all()
    assert not interactions.filter(occurred_at__lt=F("post__created_at")).exists()
    assert not interactions.filter(member=F("post__author")).exists()
    assert not interactions.filter(post__visibility__in=[Visibility.PRIVATE, Visibility.UNLISTED]).exists()
    assert all(post.language == post.author.languages[0] for post in posts.select_related("author"))
    assert interactions.filter(kind="dwell").exists()
    assert not interactions.filter(kind="dwell", value=None).exists()
    assert not interactions.exclude(kind="dwell").exclude(value=None).exists()


def test_primary_keys_grow_with_time():
    generate_platform()
    for model, field in ((Post, "created_at"), (Interaction, "occurred_at")):
        times = list(model.objects.order_by("id").values_list(field, flat=True))
        assert times == sorted(times)
        assert times[-1] <= NOW


def test_vectors_of_the_same_topic_are_similar():
    generate_platform(vectors=VectorSettings(TinyText().name, 64))
    rows = PostEmbedding.objects.select_related("post").order_by("post__external_id")
    vectors = np.stack([np.frombuffer(bytes(row.vector), "<f4") for row in rows])
    assert vectors.shape == (900, 64)
    assert {row.embedding_model for row in rows} == {TinyText().name}
    topics = np.array([row.post.tags[0] for row in rows])
    cosines, same = vectors @ vectors.T, topics[:, None] == topics
    assert cosines[same].mean() > cosines[~same].mean() + 0.3


def test_a_database_with_members_is_rejected_unless_appending():
    Member.objects.create(external_id="ann", created_at=NOW, changed_at=NOW)
    with pytest.raises(DatabaseNotEmptyError, match="--append"):
        generate_platform()
    generate_platform(append=True)
    assert Member.objects.count() == 201
    with pytest.raises(DatabaseNotEmptyError, match="another --seed"):
        generate_platform(append=True)


def test_an_impossible_size_inserts_nothing():
    with pytest.raises(PlatformTooSmallError, match="interactions"):
        generate_platform(PlatformSize(members=3, posts=5, interactions=10_000, follows=0, blocks=0, mutes=0, seed=1))
    assert not Member.objects.exists()


def test_a_failed_insertion_leaves_no_rows(monkeypatch):
    monkeypatch.setattr(service, "INTERACTIONS_PER_STEP", 1_000)

    def progress(name, done, total):
        if name == "interactions":
            raise RuntimeError("pulled the plug")

    with pytest.raises(RuntimeError, match="plug"):
        generate(size=SIZE, now=NOW, vectors=None, progress=progress)
    assert not Member.objects.exists() and not Interaction.objects.exists()


def test_the_command_accepts_sizes_with_separators_and_prints_the_counts():
    out = StringIO()
    call_command("generate", "--members=1_00", "--posts=2,00", "--interactions=300", "--seed=5", stdout=out)
    assert (
        "Generated 100 members, 200 posts, 500 follows, 5 blocks, 5 mutes and 300 interactions with seed 5."
        in out.getvalue()
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--members=0"], "at least one member"),
        (["--posts=0"], "Interactions need posts"),
        (["--members=-5"], "give a number such as 1000 or 1_000_000, not '-5'"),
        (["--members=many"], "give a number such as 1000 or 1_000_000, not 'many'"),
        (["--members=5", "--posts=5", "--interactions=999999"], "Use fewer"),
    ],
)
def test_the_command_rejects_an_impossible_size(arguments, message):
    with pytest.raises(CommandError, match=message):
        call_command("generate", *arguments)
    assert not Member.objects.exists()


def test_members_can_be_generated_without_posts():
    call_command("generate", "--members=10", "--posts=0", "--interactions=0", stdout=StringIO())
    assert (Member.objects.count(), Post.objects.count()) == (10, 0)
