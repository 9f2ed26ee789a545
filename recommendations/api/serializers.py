"""What comes in, checked; and the shapes that go out, for the OpenAPI page (`shapes.py` makes them)."""

import math
from base64 import b64decode
from typing import Any

from rest_framework import serializers

from access.problems import Problem
from recommendations.contracts import InteractionKind, Reason
from recommendations.services.serving.recommend import FEEDS

JOB_KINDS = (
    "batch_feeds",
    "member_feed",
    "embed_posts",
    "rebuild_interests",
    "reindex",
    "export_members",
    "erase_members",
    "erase_posts",
)
JOB_STATES = ("queued", "running", "done", "failed", "cancelled")
ITEM_STATUSES = ("created", "updated", "unchanged", "refused")
EVENT_STATUSES = ("recorded", "duplicate", "rejected")
ID_LENGTH = 128
MAX_ITEMS = 1000


def id_field(**kwargs: Any) -> serializers.CharField:
    """Return a field for a platform's id."""
    return serializers.CharField(max_length=ID_LENGTH, **kwargs)


def repeated_field(max_length: int, help_text: str, *, max_count: int = 20) -> serializers.ListField:
    """Return a field for a query parameter that may be repeated."""
    child = serializers.CharField(max_length=max_length)
    return serializers.ListField(child=child, required=False, default=list, max_length=max_count, help_text=help_text)


class FeedQuery(serializers.Serializer):
    """Query of a feed."""

    feed = serializers.ChoiceField(FEEDS, default="discovery", help_text="Which feed.")
    limit = serializers.IntegerField(min_value=1, max_value=100, default=20, help_text="Picks on a page.")
    cursor = serializers.CharField(
        max_length=500, required=False, default=None, help_text="next_cursor of the page before."
    )
    explain = serializers.BooleanField(default=False, help_text="Add the parts that each score is the sum of.")
    language = repeated_field(8, "Only posts in this language; may be repeated.")
    kind = repeated_field(32, "Only posts of this format; may be repeated.")
    tag = repeated_field(128, "Only posts with this tag; may be repeated.")
    max_age_hours = serializers.FloatField(
        required=False, default=None, min_value=0.01, max_value=876_000, help_text="Only posts that are no older."
    )
    exclude_post_id = repeated_field(ID_LENGTH, "Id of a post that must not come; may be repeated.", max_count=100)
    fields = repeated_field(  # type: ignore[assignment]  # it hides DRF's property on the class, not on instances
        32, "Only these fields of a pick, such as post.id or score; may be repeated. All if left out.", max_count=20
    )


class SimilarQuery(serializers.Serializer):
    """Query of similar posts."""

    viewer_id = id_field(help_text="The member who looks: nothing is shown that this member may not see.")
    limit = serializers.IntegerField(min_value=1, max_value=100, default=10)


class SearchQuery(serializers.Serializer):
    """Query of a search: by a text or by a post."""

    viewer_id = id_field(help_text="The member who looks.")
    space = serializers.SlugField(max_length=16, default="image", help_text="Where texts and pictures meet.")
    text = serializers.CharField(max_length=1000, default="", allow_blank=True)
    post_id = serializers.CharField(max_length=ID_LENGTH, default="", allow_blank=True)
    kind = serializers.CharField(max_length=32, default="", allow_blank=True, help_text="Posts of this format only.")
    limit = serializers.IntegerField(min_value=1, max_value=100, default=10)


class SearchBody(serializers.Serializer):
    """A search by a vector."""

    viewer_id = id_field(help_text="The member who looks.")
    space = serializers.SlugField(max_length=16, default="image")
    vector = serializers.ListField(child=serializers.FloatField(), min_length=8, max_length=4096)
    kind = serializers.CharField(max_length=32, default="", allow_blank=True)
    limit = serializers.IntegerField(min_value=1, max_value=100, default=10)


MAX_PICTURES = 20
"""Pictures a request: with 13 ms each on one core, and a body of 5 MB, an answer within a second."""


class VectorItem(serializers.Serializer):
    """A post's vector."""

    post_id = id_field()
    vector = serializers.ListField(child=serializers.FloatField(), min_length=8, max_length=4096)


class VectorsBody(serializers.Serializer):
    """Vectors by one model."""

    embedding_model = serializers.CharField(max_length=128, help_text="The platform's model, with its version.")
    vectors = serializers.ListField(child=VectorItem(), min_length=1, max_length=MAX_ITEMS)


class Base64Field(serializers.CharField):
    """Bytes in base64."""

    default_error_messages = {"base64": "Give the bytes of the file in base64."}

    def to_internal_value(self, data: Any) -> Any:
        """Return the bytes."""
        try:
            return b64decode(super().to_internal_value(data), validate=True)
        except ValueError:
            return self.fail("base64")


class PictureItem(serializers.Serializer):
    """A post's picture."""

    post_id = id_field()
    image = Base64Field(help_text="A JPEG, PNG or WebP file, in base64.")


class PicturesBody(serializers.Serializer):
    """Pictures to be looked at; they are not kept."""

    pictures = serializers.ListField(child=PictureItem(), min_length=1, max_length=MAX_PICTURES)


class StoredVectorsOut(serializers.Serializer):
    """What was kept."""

    stored = serializers.IntegerField()
    unknown_post_ids = serializers.ListField(child=serializers.CharField())


class ExplainQuery(serializers.Serializer):
    """Query of an explanation."""

    viewer_id = id_field(help_text="The member whose feed it was.")


class MembersQuery(serializers.Serializer):
    """Query of members."""

    prefix = serializers.CharField(
        max_length=ID_LENGTH, default="", allow_blank=True, help_text="The first characters of the id."
    )
    limit = serializers.IntegerField(min_value=1, max_value=100, default=20)


class JobsQuery(serializers.Serializer):
    """Query of jobs."""

    kind = serializers.ChoiceField(JOB_KINDS, default="", allow_blank=True)
    state = serializers.ChoiceField(JOB_STATES, default="", allow_blank=True)
    limit = serializers.IntegerField(min_value=1, max_value=100, default=20)
    cursor = serializers.DateTimeField(required=False, default=None, help_text="next_cursor of the page before.")


class EventIn(serializers.Serializer):
    """One act of a member on a post, or the undoing of one."""

    event_id = id_field(help_text="The sender's own: sent twice, it counts once.")
    member_id = id_field()
    post_id = id_field(required=False, help_text="Needed unless the event undoes another.")
    kind = serializers.ChoiceField(
        [kind.value for kind in InteractionKind],
        required=False,
        help_text="Needed unless the event undoes another. follow: of the post's author.",
    )
    target = serializers.ChoiceField(
        ["author", "topic", "kind"],
        required=False,
        allow_blank=True,
        default="",
        help_text="Of a not_interested: what of the post it is about. Empty: what the post says.",
    )
    undoes_event_id = id_field(
        required=False, help_text="The event_id of an earlier event of this member, which this one takes back."
    )
    value = serializers.FloatField(
        required=False, allow_null=True, default=None, help_text="Seconds of a dwell, stars of a rating."
    )
    occurred_at = serializers.DateTimeField(
        required=False, allow_null=True, default=None, help_text="Left out: this moment."
    )
    request_id = serializers.UUIDField(
        required=False, allow_null=True, default=None, help_text="Of the feed that brought the post."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse an event that neither says what was done nor what is undone."""
        lacking = [] if attrs.get("undoes_event_id") else [name for name in ("post_id", "kind") if not attrs.get(name)]
        if lacking:
            raise serializers.ValidationError(dict.fromkeys(lacking, "This field is required."), code="required")
        return attrs

    def validate_value(self, value: float | None) -> float | None:
        """Refuse what JSON writes as 1e999."""
        if value is not None and not math.isfinite(value):
            raise serializers.ValidationError("Give a finite number.")
        return value


class AnyJSONField(serializers.Field):
    """Lets any value of JSON through. DRF's own refuses the whole list for one number that is too large."""

    def to_internal_value(self, data: Any) -> Any:
        return data


class UncheckedEvents(serializers.Serializer):
    """A list of events. Each is checked by itself, so that a bad one loses none of the good."""

    events = serializers.ListField(child=AnyJSONField(allow_null=True), min_length=1, max_length=MAX_ITEMS)


class EventsBody(serializers.Serializer):
    """What `Events` asks for, spelled out."""

    events = serializers.ListField(child=EventIn(), min_length=1, max_length=MAX_ITEMS)


class PostIn(serializers.Serializer):
    """A post as it is sent. The service checks it, and says of each field what is wrong with it."""

    id = id_field()
    author_id = id_field(help_text="A member that was sent before.")
    visibility = serializers.ChoiceField(["public", "followers", "private", "unlisted"])
    created_at = serializers.DateTimeField()
    text = serializers.CharField(required=False, allow_blank=True, max_length=2**20)
    kind = serializers.CharField(required=False, max_length=32, help_text="Format: text, image, video …")
    language = serializers.CharField(required=False, max_length=8, help_text="Such as en or pt-BR.")
    tags = serializers.ListField(
        child=serializers.CharField(max_length=128), required=False, max_length=100, help_text="The main one first."
    )
    media = serializers.ListField(
        child=serializers.DictField(), required=False, max_length=20, help_text="Objects with kind, url and alt."
    )
    safety_labels = serializers.DictField(
        child=serializers.FloatField(min_value=0, max_value=1), required=False, help_text='Such as {"violence": 0.4}.'
    )
    removed_at = serializers.DateTimeField(required=False, help_text="The moment it was taken down.")


class MemberIn(serializers.Serializer):
    """A member as they are sent."""

    id = id_field()
    is_private = serializers.BooleanField(help_text="Only followers see the member's posts.")
    languages = serializers.ListField(child=serializers.CharField(max_length=8), required=False, max_length=100)
    region = serializers.CharField(required=False, max_length=32)
    birth_year = serializers.IntegerField(required=False, min_value=1900)
    is_adult = serializers.BooleanField(required=False, help_text="Whether the platform vouches for an adult.")
    is_active = serializers.BooleanField(required=False)
    is_personalized = serializers.BooleanField(required=False)
    sensitivity = serializers.ChoiceField(["safe", "sensitive", "adult"], required=False)
    muted_words = serializers.ListField(child=serializers.CharField(max_length=128), required=False, max_length=100)
    muted_tags = serializers.ListField(child=serializers.CharField(max_length=128), required=False, max_length=100)
    created_at = serializers.DateTimeField(required=False)


class UncheckedPosts(serializers.Serializer):
    """A list of posts. Each is checked by itself, so that a bad one loses none of the good."""

    posts = serializers.ListField(child=AnyJSONField(allow_null=True), min_length=1, max_length=MAX_ITEMS)


class UncheckedMembers(serializers.Serializer):
    """A list of members, checked in the same way."""

    members = serializers.ListField(child=AnyJSONField(allow_null=True), min_length=1, max_length=MAX_ITEMS)


UNCHECKED_LISTS: dict[str, type[serializers.Serializer]] = {"posts": UncheckedPosts, "members": UncheckedMembers}


class PostsBody(serializers.Serializer):
    """What `Posts` asks for, spelled out."""

    posts = serializers.ListField(child=PostIn(), min_length=1, max_length=MAX_ITEMS)


class MembersBody(serializers.Serializer):
    """What `Members` asks for, spelled out."""

    members = serializers.ListField(child=MemberIn(), min_length=1, max_length=MAX_ITEMS)


class SeenPostsBody(serializers.Serializer):
    """Posts that were on the member's screen."""

    post_ids = serializers.ListField(child=id_field(), min_length=1, max_length=MAX_ITEMS)


class JobBody(serializers.Serializer):
    """A job to do."""

    kind = serializers.ChoiceField(JOB_KINDS)
    params = serializers.DictField(required=False, default=dict, help_text='Such as {"member_ids": ["42"]}.')


class IdempotencyKey(serializers.Serializer):
    """The header of the same name."""

    idempotency_key = serializers.CharField(max_length=200, default=None, allow_null=True)


class PostOut(serializers.Serializer):
    """A post."""

    id = serializers.CharField()
    author_id = serializers.CharField()
    text = serializers.CharField()
    kind = serializers.CharField()
    language = serializers.CharField(help_text="Empty: unknown.")
    tags = serializers.ListField(child=serializers.CharField())
    media = serializers.ListField(child=serializers.DictField())
    created_at = serializers.DateTimeField()


class ReasonOut(serializers.Serializer):
    """Why a pick is there."""

    code = serializers.ChoiceField([reason.name.lower() for reason in Reason])
    sentence = serializers.CharField()


class PickOut(serializers.Serializer):
    """A post and why it was picked."""

    post = PostOut()
    score = serializers.FloatField()
    reasons = ReasonOut(many=True)
    sources = serializers.ListField(child=serializers.CharField())
    parts = serializers.DictField(
        child=serializers.FloatField(), allow_null=True, help_text="Their sum is the score; null without explain."
    )


class PageOut(serializers.Serializer):
    """A page of a feed."""

    request_id = serializers.UUIDField(help_text="Send it back with the interactions.")
    member_id = serializers.CharField()
    feed = serializers.CharField()
    engine = serializers.CharField()
    variant = serializers.CharField()
    fallback = serializers.CharField(help_text="The step of the fallback that served; empty if none was needed.")
    is_cached = serializers.BooleanField()
    built_at = serializers.DateTimeField()
    candidate_count = serializers.IntegerField()
    duration_ms = serializers.FloatField()
    picks = PickOut(many=True)
    next_cursor = serializers.CharField(allow_null=True)


class ItemResultOut(serializers.Serializer):
    """What became of an item."""

    id = serializers.CharField(allow_null=True)
    status = serializers.ChoiceField(ITEM_STATUSES)
    problem = Problem(allow_null=True)


class ItemResultsOut(serializers.Serializer):
    """What became of each item, in the order sent."""

    created = serializers.IntegerField()
    updated = serializers.IntegerField()
    unchanged = serializers.IntegerField()
    rejected = serializers.IntegerField()
    results = ItemResultOut(many=True)


class EmbeddingOut(serializers.Serializer):
    """A vector that a post has."""

    space = serializers.CharField()
    embedding_model = serializers.CharField()
    version = serializers.IntegerField()


class StoredPostOut(PostOut):
    """All that is kept of a post."""

    visibility = serializers.ChoiceField(["public", "followers", "private", "unlisted"])
    safety_labels = serializers.DictField(child=serializers.FloatField())
    sensitivity = serializers.CharField(help_text="Derived from the labels: safe, sensitive, adult or forbidden.")
    removed_at = serializers.DateTimeField(allow_null=True)
    embeddings = EmbeddingOut(many=True)


class EventResultOut(serializers.Serializer):
    """What came of an event."""

    event_id = serializers.CharField(allow_null=True)
    status = serializers.ChoiceField(EVENT_STATUSES)
    problem = Problem(allow_null=True)


class EventResultsOut(serializers.Serializer):
    """What came of each event, in the order sent."""

    recorded = serializers.IntegerField()
    duplicate = serializers.IntegerField()
    rejected = serializers.IntegerField()
    results = EventResultOut(many=True)


class SeenPostsOut(serializers.Serializer):
    """How many of the posts we know."""

    marked = serializers.IntegerField()


class JobOut(serializers.Serializer):
    """A job and how far it is."""

    id = serializers.UUIDField()
    kind = serializers.ChoiceField(JOB_KINDS)
    state = serializers.ChoiceField(JOB_STATES)
    total = serializers.IntegerField()
    done = serializers.IntegerField()
    failed = serializers.IntegerField()
    errors = serializers.ListField(child=serializers.JSONField())  # type: ignore[assignment]
    params = serializers.DictField()
    result = serializers.DictField()
    is_cancel_requested = serializers.BooleanField()
    is_finished = serializers.BooleanField()
    result_url = serializers.CharField(allow_null=True, help_text="Where what it made can be fetched.")
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class ExportOut(serializers.Serializer):
    """What an export made; docs/privacy.md describes the form."""

    members = serializers.ListField(child=serializers.DictField())


class JobStreamEventOut(serializers.Serializer):
    """One event of the stream, by its fields."""

    event = serializers.ChoiceField(
        choices=["job", "again"], help_text="job: it has changed; again: the stream's time is over, ask for another."
    )
    data = serializers.CharField(  # type: ignore[assignment]  # the field that the standard calls so
        help_text="Of a job: the job as JSON, as its own address gives it."
    )


class JobsOut(serializers.Serializer):
    """A page of jobs, newest first."""

    jobs = JobOut(many=True)
    next_cursor = serializers.CharField(allow_null=True)


class MemberOut(serializers.Serializer):
    """A member, for choosing one."""

    id = serializers.CharField()
    interaction_count = serializers.IntegerField()
    languages = serializers.ListField(child=serializers.CharField())
    is_active = serializers.BooleanField()


class MembersOut(serializers.Serializer):
    """Members."""

    members = MemberOut(many=True)


class PreferencesBody(serializers.Serializer):
    """What a member wants and allows."""

    languages = serializers.ListField(
        child=serializers.CharField(max_length=8), max_length=20, help_text="Best first; empty: any."
    )
    region = serializers.CharField(max_length=16, allow_blank=True, help_text="Such as DE: what trends there.")
    is_private = serializers.BooleanField(help_text="Only followers see the member's posts.")
    is_personalized = serializers.BooleanField(help_text="Off: nothing is learned, and what was learned is deleted.")
    sensitivity = serializers.ChoiceField(["safe", "sensitive", "adult"])
    muted_words = serializers.ListField(child=serializers.CharField(max_length=100), max_length=500)
    muted_tags = serializers.ListField(child=serializers.CharField(max_length=100), max_length=500)


class ShowLessEffectOut(serializers.Serializer):
    """What a wish for less did."""

    target = serializers.ChoiceField(["author", "topic", "kind"])
    target_key = serializers.CharField(help_text="The author's id, the tag, or the format.")
    created_at = serializers.DateTimeField()
    share_before = serializers.FloatField(allow_null=True, help_text="Of the posts shown last before; null: none.")
    share_after = serializers.FloatField(allow_null=True)
    served_before = serializers.IntegerField()
    served_after = serializers.IntegerField()


class ShowLessEffectsOut(serializers.Serializer):
    """Effects, the newest wish first."""

    effects = ShowLessEffectOut(many=True)


class ExplanationOut(serializers.Serializer):
    """Why a post was shown to a member, or was not."""

    request_id = serializers.UUIDField()
    post_id = serializers.CharField()
    status = serializers.ChoiceField(["shown", "ranked", "outranked", "filtered", "not_found", "not_in_slate"])
    sentence = serializers.CharField()
    rank = serializers.IntegerField(allow_null=True, help_text="In the slate, or among all candidates; from 1.")
    out_of = serializers.IntegerField(allow_null=True, help_text="How many the rank is among.")
    score = serializers.FloatField(allow_null=True)
    parts = serializers.DictField(
        child=serializers.FloatField(), allow_null=True, help_text="Their sum in float32, in this order, is the score."
    )
    sources = serializers.ListField(child=serializers.CharField())
    reasons = ReasonOut(many=True)
    filter = serializers.CharField(allow_null=True, help_text="The viewer's own wish that kept it away.")
