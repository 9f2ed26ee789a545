"""
Serializers that validate requests, and serializers that describe responses in the OpenAPI schema.

`responses.py` builds the responses.
"""

from base64 import b64decode
from typing import Any

from rest_framework import serializers

from access.limited_fields import LimitedListField
from access.problems import Problem
from recommendations.contracts import InteractionKind, Reason
from recommendations.services import work
from recommendations.services.members import follow_requests
from recommendations.services.serving.recommend import FEEDS

JOB_STATES = ("queued", "running", "done", "failed", "cancelled")
ITEM_STATUSES = ("created", "updated", "unchanged", "rejected")
EVENT_STATUSES = ("recorded", "duplicate", "rejected")
ID_LENGTH = 128
MAX_ITEMS = 1000


def id_field(**kwargs: Any) -> serializers.CharField:
    """Return a field for an id of the platform."""
    return serializers.CharField(max_length=ID_LENGTH, **kwargs)


def repeated_field(max_length: int, help_text: str, *, max_count: int = 20) -> LimitedListField:
    """Return a field for a query parameter that may be repeated up to *max_count* times."""
    child = serializers.CharField(max_length=max_length)
    return LimitedListField(child=child, required=False, default=list, max_length=max_count, help_text=help_text)


class FeedQuery(serializers.Serializer):
    """Query parameters of a feed."""

    feed = serializers.ChoiceField(FEEDS, default="discovery", help_text="Name of the feed.")
    limit = serializers.IntegerField(min_value=1, max_value=100, default=20, help_text="Posts per page.")
    cursor = serializers.CharField(
        max_length=500, required=False, default=None, help_text="next_cursor of the previous page."
    )
    explain = serializers.BooleanField(default=False, help_text="Include the parts of each score.")
    language = repeated_field(8, "Only posts in this language; may be repeated.")
    kind = repeated_field(32, "Only posts of this kind; may be repeated.")
    tag = repeated_field(128, "Only posts with this tag; may be repeated.")
    max_age_hours = serializers.FloatField(
        required=False, default=None, min_value=0.01, max_value=876_000, help_text="Only posts at most this old."
    )
    exclude_post_id = repeated_field(ID_LENGTH, "Id of a post to leave out; may be repeated.", max_count=100)
    fields = repeated_field(  # type: ignore[assignment]  # hides DRF's property on the class, not on instances
        32, "Only these fields of a pick, such as post.id or score; may be repeated. Default: all.", max_count=20
    )


class SimilarQuery(serializers.Serializer):
    """Query parameters of similar posts."""

    viewer_id = id_field(help_text="The viewing member. Posts that this member may not see are left out.")
    limit = serializers.IntegerField(min_value=1, max_value=100, default=10)


class SearchQuery(serializers.Serializer):
    """Query parameters of a search by a text or by a post."""

    viewer_id = id_field(help_text="The viewing member.")
    space = serializers.SlugField(
        max_length=16, default="image", help_text="The embedding space, such as image: texts and pictures share it."
    )
    text = serializers.CharField(max_length=1000, default="", allow_blank=True)
    post_id = serializers.CharField(max_length=ID_LENGTH, default="", allow_blank=True)
    kind = serializers.CharField(max_length=32, default="", allow_blank=True, help_text="Only posts of this kind.")
    limit = serializers.IntegerField(min_value=1, max_value=100, default=10)


class SearchBody(serializers.Serializer):
    """Body of a search by a vector."""

    viewer_id = id_field(help_text="The viewing member.")
    space = serializers.SlugField(max_length=16, default="image")
    vector = LimitedListField(child=serializers.FloatField(), min_length=8, max_length=4096)
    kind = serializers.CharField(max_length=32, default="", allow_blank=True)
    limit = serializers.IntegerField(min_value=1, max_value=100, default=10)


MAX_PICTURES = 20
"""Pictures per request. At 13 ms each on one core and a body of 5 MB, the response takes less than a second."""


class VectorItem(serializers.Serializer):
    """The vector of one post."""

    post_id = id_field()
    vector = LimitedListField(child=serializers.FloatField(), min_length=8, max_length=4096)


class VectorsBody(serializers.Serializer):
    """Vectors of one embedding model."""

    embedding_model = serializers.CharField(
        max_length=128, help_text="The platform's embedding model, with its version."
    )
    vectors = LimitedListField(child=VectorItem(), min_length=1, max_length=MAX_ITEMS)


class Base64Field(serializers.CharField):
    """A field of base64-encoded bytes."""

    default_error_messages = {"base64": "Give the bytes of the file, encoded in base64."}

    def to_internal_value(self, data: Any) -> Any:
        """Return the decoded bytes."""
        try:
            return b64decode(super().to_internal_value(data), validate=True)
        except ValueError:
            return self.fail("base64")


class PictureItem(serializers.Serializer):
    """The picture of one post."""

    post_id = id_field()
    image = Base64Field(help_text="A JPEG, PNG or WebP file, encoded in base64.")


class PicturesBody(serializers.Serializer):
    """Pictures to embed. Only their vectors are stored."""

    pictures = LimitedListField(child=PictureItem(), min_length=1, max_length=MAX_PICTURES)


class StoredVectorsOut(serializers.Serializer):
    """The number of stored vectors, and the ids without a post."""

    stored = serializers.IntegerField()
    unknown_post_ids = serializers.ListField(child=serializers.CharField())


class ExplainQuery(serializers.Serializer):
    """Query parameters of an explanation."""

    viewer_id = id_field(help_text="The member who requested the feed.")


class MembersQuery(serializers.Serializer):
    """Query parameters of the list of members."""

    prefix = serializers.CharField(
        max_length=ID_LENGTH, default="", allow_blank=True, help_text="First characters of the id."
    )
    limit = serializers.IntegerField(min_value=1, max_value=100, default=20)


class JobsQuery(serializers.Serializer):
    """Query parameters of the list of jobs."""

    kind = serializers.ChoiceField(work.KIND_NAMES, default="", allow_blank=True)
    state = serializers.ChoiceField(JOB_STATES, default="", allow_blank=True)
    limit = serializers.IntegerField(min_value=1, max_value=100, default=20)
    cursor = serializers.DateTimeField(required=False, default=None, help_text="next_cursor of the previous page.")


class EventIn(serializers.Serializer):
    """An interaction of a member with a post, or the undo of an earlier event."""

    event_id = id_field(
        help_text="Chosen by the sender, unique for the member. Sent again with the same content, it counts once."
    )
    member_id = id_field()
    post_id = id_field(required=False, help_text="Required unless the event undoes another event.")
    kind = serializers.ChoiceField(
        [kind.value for kind in InteractionKind],
        required=False,
        help_text="Required unless the event undoes another event. follow: the member follows the post's author.",
    )
    target = serializers.ChoiceField(
        ["author", "topic", "kind"],
        required=False,
        allow_blank=True,
        default="",
        help_text="Only for not_interested: what the member wants less of. Empty: only this post.",
    )
    undoes_event_id = id_field(
        required=False, help_text="The event_id of an event of this member and sender that this event undoes."
    )
    value = serializers.FloatField(
        required=False, allow_null=True, default=None, help_text="Seconds of a dwell, or stars of a rating."
    )
    occurred_at = serializers.DateTimeField(
        required=False, allow_null=True, default=None, help_text="Default: the time of the request."
    )
    request_id = serializers.UUIDField(
        required=False, allow_null=True, default=None, help_text="request_id of the feed page that contained the post."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Reject an event without `undoes_event_id` that lacks `post_id` or `kind`."""
        missing = [] if attrs.get("undoes_event_id") else [name for name in ("post_id", "kind") if not attrs.get(name)]
        if missing:
            raise serializers.ValidationError(dict.fromkeys(missing, "This field is required."), code="required")
        return attrs


class AnyJSONField(serializers.Field):
    """A field that accepts any JSON value. DRF's JSONField would reject the whole list for one number out of range."""

    def to_internal_value(self, data: Any) -> Any:
        return data


class UncheckedEvents(serializers.Serializer):
    """A list of events. Each event is validated separately, so that an invalid one does not reject the others."""

    events = LimitedListField(child=AnyJSONField(allow_null=True), min_length=1, max_length=MAX_ITEMS)


class EventsBody(serializers.Serializer):
    """The body of `UncheckedEvents` for the OpenAPI schema, with the fields of an event."""

    events = LimitedListField(child=EventIn(), min_length=1, max_length=MAX_ITEMS)


class PostIn(serializers.Serializer):
    """A post in a request. The service validates it and reports an error for each field."""

    id = id_field()
    author_id = id_field(help_text="A member that exists.")
    visibility = serializers.ChoiceField(["public", "followers", "private", "unlisted"])
    created_at = serializers.DateTimeField()
    text = serializers.CharField(required=False, allow_blank=True, max_length=2**20)
    kind = serializers.CharField(required=False, max_length=32, help_text="Such as text, image or video.")
    language = serializers.CharField(required=False, max_length=8, help_text="Such as en or pt-BR.")
    tags = LimitedListField(
        child=serializers.CharField(max_length=128), required=False, max_length=100, help_text="Main tag first."
    )
    media = LimitedListField(
        child=serializers.DictField(), required=False, max_length=20, help_text="Objects with kind, url and alt."
    )
    safety_labels = serializers.DictField(
        child=serializers.FloatField(min_value=0, max_value=1), required=False, help_text='Such as {"violence": 0.4}.'
    )
    removed_at = serializers.DateTimeField(required=False, help_text="When the post was removed.")


class MemberIn(serializers.Serializer):
    """A member in a request."""

    id = id_field()
    is_private = serializers.BooleanField(help_text="Only followers see the member's posts.")
    languages = LimitedListField(child=serializers.CharField(max_length=8), required=False, max_length=100)
    region = serializers.CharField(required=False, max_length=32)
    birth_year = serializers.IntegerField(required=False, min_value=1900)
    is_adult = serializers.BooleanField(
        required=False, help_text="Whether the platform has verified that the member is an adult."
    )
    is_active = serializers.BooleanField(required=False)
    is_personalized = serializers.BooleanField(
        required=False,
        help_text="Whether the member agrees that feeds learn from what they do. Not sent: the setting "
        "PERSONALIZATION_CONSENT decides.",
    )
    sensitivity = serializers.ChoiceField(["safe", "sensitive", "adult"], required=False)
    muted_words = LimitedListField(child=serializers.CharField(max_length=128), required=False, max_length=100)
    muted_tags = LimitedListField(child=serializers.CharField(max_length=128), required=False, max_length=100)
    interest_tags = LimitedListField(
        child=serializers.CharField(max_length=128),
        required=False,
        max_length=100,
        help_text="Tags that the member says they like.",
    )
    created_at = serializers.DateTimeField(required=False)


class UncheckedPosts(serializers.Serializer):
    """A list of posts. Each post is validated separately, so that an invalid one does not reject the others."""

    posts = LimitedListField(child=AnyJSONField(allow_null=True), min_length=1, max_length=MAX_ITEMS)


class UncheckedMembers(serializers.Serializer):
    """A list of members, validated in the same way."""

    members = LimitedListField(child=AnyJSONField(allow_null=True), min_length=1, max_length=MAX_ITEMS)


UNCHECKED_LISTS: dict[str, type[serializers.Serializer]] = {"posts": UncheckedPosts, "members": UncheckedMembers}


class PostsBody(serializers.Serializer):
    """The body of `UncheckedPosts` for the OpenAPI schema, with the fields of a post."""

    posts = LimitedListField(child=PostIn(), min_length=1, max_length=MAX_ITEMS)


class MembersBody(serializers.Serializer):
    """The body of `UncheckedMembers` for the OpenAPI schema, with the fields of a member."""

    members = LimitedListField(child=MemberIn(), min_length=1, max_length=MAX_ITEMS)


class SeenPostsBody(serializers.Serializer):
    """Posts that were on a member's screen."""

    post_ids = LimitedListField(child=id_field(), min_length=1, max_length=MAX_ITEMS)


class JobOptions(serializers.Serializer):
    """When a job is processed."""

    priority = serializers.ChoiceField(
        work.PRIORITY_NAMES,
        default=None,
        allow_null=True,
        help_text="Jobs with a higher priority are processed first. Default: high for member_feed, else normal.",
    )
    deadline = serializers.DateTimeField(
        default=None, allow_null=True, help_text="At this time the part of the job that has not begun is cancelled."
    )


class JobBody(JobOptions):
    """A job to submit."""

    kind = serializers.ChoiceField(work.KIND_NAMES)
    params = serializers.DictField(required=False, default=dict, help_text='Such as {"member_ids": ["42"]}.')


class IdempotencyKey(serializers.Serializer):
    """The Idempotency-Key header."""

    idempotency_key = serializers.CharField(max_length=200, default=None, allow_null=True)


class PostOut(serializers.Serializer):
    """A post."""

    id = serializers.CharField()
    author_id = serializers.CharField()
    text = serializers.CharField()
    kind = serializers.CharField()
    language = serializers.CharField(help_text="Empty if unknown.")
    tags = serializers.ListField(child=serializers.CharField())
    media = serializers.ListField(child=serializers.DictField())
    created_at = serializers.DateTimeField()


class ReasonOut(serializers.Serializer):
    """A reason why a post was recommended."""

    code = serializers.ChoiceField([reason.name.lower() for reason in Reason])
    sentence = serializers.CharField()


class PickOut(serializers.Serializer):
    """A recommended post, with its score and reasons."""

    post = PostOut()
    score = serializers.FloatField()
    reasons = ReasonOut(many=True)
    sources = serializers.ListField(child=serializers.CharField())
    parts = serializers.DictField(
        child=serializers.FloatField(), allow_null=True, help_text="The score is their sum. null without explain=true."
    )


class PageOut(serializers.Serializer):
    """A page of a feed, of similar posts or of search results."""

    request_id = serializers.UUIDField(help_text="Send it with the interactions with these posts.")
    member_id = serializers.CharField()
    feed = serializers.CharField()
    engine = serializers.CharField()
    variant = serializers.CharField()
    fallback = serializers.CharField(help_text="The fallback step that served the page. Empty if none was needed.")
    is_cached = serializers.BooleanField()
    built_at = serializers.DateTimeField()
    candidate_count = serializers.IntegerField()
    duration_ms = serializers.FloatField()
    picks = PickOut(many=True)
    next_cursor = serializers.CharField(allow_null=True)


class ItemResultOut(serializers.Serializer):
    """The result of one item."""

    id = serializers.CharField(allow_null=True)
    status = serializers.ChoiceField(ITEM_STATUSES)
    problem = Problem(allow_null=True)


class ItemResultsOut(serializers.Serializer):
    """The result of each item, in the order of the request, and the number of items per status."""

    created = serializers.IntegerField()
    updated = serializers.IntegerField()
    unchanged = serializers.IntegerField()
    rejected = serializers.IntegerField()
    results = ItemResultOut(many=True)


class EmbeddingOut(serializers.Serializer):
    """The embedding of a post in one space."""

    space = serializers.CharField()
    embedding_model = serializers.CharField()
    version = serializers.IntegerField()


class StoredPostOut(PostOut):
    """A post with all its stored fields."""

    visibility = serializers.ChoiceField(["public", "followers", "private", "unlisted"])
    safety_labels = serializers.DictField(child=serializers.FloatField())
    sensitivity = serializers.CharField(
        help_text="Derived from the safety labels: safe, sensitive, adult or forbidden."
    )
    removed_at = serializers.DateTimeField(allow_null=True)
    embeddings = EmbeddingOut(many=True)


class EventResultOut(serializers.Serializer):
    """The result of one event."""

    event_id = serializers.CharField(allow_null=True)
    status = serializers.ChoiceField(EVENT_STATUSES)
    problem = Problem(allow_null=True)


class EventResultsOut(serializers.Serializer):
    """The result of each event, in the order of the request, and the number of events per status."""

    recorded = serializers.IntegerField()
    duplicate = serializers.IntegerField()
    rejected = serializers.IntegerField()
    results = EventResultOut(many=True)


class SeenPostsOut(serializers.Serializer):
    """The number of posts that were marked as seen."""

    marked = serializers.IntegerField(help_text="Ids without a post that the member may see are not counted.")


class JobOut(serializers.Serializer):
    """A job and its progress."""

    id = serializers.UUIDField()
    kind = serializers.ChoiceField(work.KIND_NAMES)
    state = serializers.ChoiceField(JOB_STATES)
    total = serializers.IntegerField()
    done = serializers.IntegerField()
    failed = serializers.IntegerField()
    errors = serializers.ListField(child=serializers.JSONField())  # type: ignore[assignment]
    params = serializers.DictField()
    priority = serializers.ChoiceField(work.PRIORITY_NAMES)
    deadline = serializers.DateTimeField(allow_null=True)
    is_expired = serializers.BooleanField(help_text="Whether the job was cancelled at its deadline.")
    result = serializers.DictField()
    is_cancel_requested = serializers.BooleanField()
    is_finished = serializers.BooleanField()
    result_url = serializers.CharField(allow_null=True, help_text="URL of the result file. null if there is none.")
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class JobFailuresQuery(serializers.Serializer):
    """Query parameters of the list of failed items."""

    limit = serializers.IntegerField(min_value=1, max_value=100, default=20)
    cursor = serializers.IntegerField(
        min_value=0, max_value=2**63 - 1, default=0, help_text="next_cursor of the previous page."
    )


class JobFailureOut(serializers.Serializer):
    """An item of a job that failed."""

    item_id = serializers.IntegerField(help_text="As in the errors of the job.")
    id = serializers.CharField(allow_null=True, help_text="Id of the member or post. null if it does not exist.")
    problem = serializers.CharField()
    failed_at = serializers.DateTimeField()


class JobFailuresOut(serializers.Serializer):
    """A page of the failed items of a job, oldest first."""

    failures = JobFailureOut(many=True)
    next_cursor = serializers.IntegerField(allow_null=True)


class ExportOut(serializers.Serializer):
    """The result of an export job. docs/privacy.md describes the format."""

    members = serializers.ListField(child=serializers.DictField())


class JobStreamEventOut(serializers.Serializer):
    """The fields of one server-sent event."""

    event = serializers.ChoiceField(
        choices=["job", "reconnect"], help_text="job: the job has changed. reconnect: the stream ended; open a new one."
    )
    data = serializers.CharField(  # type: ignore[assignment]  # the name that the standard gives the field
        help_text="For job: the job as JSON, as GET /api/v1/jobs/{job_id} returns it."
    )


class JobsOut(serializers.Serializer):
    """A page of jobs, newest first."""

    jobs = JobOut(many=True)
    next_cursor = serializers.CharField(allow_null=True)


class MemberOut(serializers.Serializer):
    """A member, in a list or alone."""

    id = serializers.CharField()
    interaction_count = serializers.IntegerField()
    languages = serializers.ListField(child=serializers.CharField())
    is_active = serializers.BooleanField()


class MembersOut(serializers.Serializer):
    """A list of members."""

    members = MemberOut(many=True)


class PreferencesBody(serializers.Serializer):
    """The preferences of a member."""

    languages = LimitedListField(
        child=serializers.CharField(max_length=8),
        max_length=20,
        help_text="Preferred language first. Empty: any language.",
    )
    region = serializers.CharField(max_length=16, allow_blank=True, help_text="Such as DE. Selects the trending posts.")
    is_private = serializers.BooleanField(help_text="Only followers see the member's posts.")
    is_personalized = serializers.BooleanField(
        help_text="false: nothing is learned, and learned interests are deleted."
    )
    sensitivity = serializers.ChoiceField(["safe", "sensitive", "adult"])
    muted_words = LimitedListField(child=serializers.CharField(max_length=100), max_length=500)
    muted_tags = LimitedListField(child=serializers.CharField(max_length=100), max_length=500)
    interest_tags = LimitedListField(
        child=serializers.CharField(max_length=100),
        max_length=500,
        help_text="Tags that the member says they like, such as at sign-up. Used only with is_personalized.",
    )


class FollowRequestsQuery(serializers.Serializer):
    """Query parameters of the list of follow requests."""

    direction = serializers.ChoiceField(
        follow_requests.DIRECTIONS,
        default="incoming",
        help_text="incoming: requests that the member has received. outgoing: those that the member has sent.",
    )
    limit = serializers.IntegerField(min_value=1, max_value=follow_requests.MAX_REQUESTS, default=20)
    cursor = serializers.CharField(
        max_length=500, required=False, default=None, help_text="next_cursor of the previous page."
    )


class FollowRequestOut(serializers.Serializer):
    """A pending follow request."""

    member_id = serializers.CharField(help_text="The other member: who sent the request, or who received it.")
    created_at = serializers.DateTimeField()


class FollowRequestsOut(serializers.Serializer):
    """A page of pending follow requests, newest first."""

    follow_requests = FollowRequestOut(many=True)
    next_cursor = serializers.CharField(allow_null=True)


class ShowLessEffectOut(serializers.Serializer):
    """The effect of one negative feedback."""

    target = serializers.ChoiceField(["author", "topic", "kind"])
    target_key = serializers.CharField(help_text="The author's id, the tag or the kind.")
    created_at = serializers.DateTimeField(help_text="Of the negative feedback.")
    share_before = serializers.FloatField(
        allow_null=True,
        help_text="Share of the target in the posts served before the feedback, 0 to 1. null: none were served.",
    )
    share_after = serializers.FloatField(allow_null=True, help_text="The same after the feedback.")
    served_before = serializers.IntegerField()
    served_after = serializers.IntegerField()


class ShowLessEffectsOut(serializers.Serializer):
    """Effects of a member's negative feedback, newest first."""

    effects = ShowLessEffectOut(many=True)


class ReactionReasonOut(serializers.Serializer):
    """A post that the member liked or rejected."""

    post_id = serializers.CharField()
    text = serializers.CharField()
    value = serializers.FloatField(help_text="What the reaction contributed. Negative if it lowers the score.")


class BecauseOut(serializers.Serializer):
    """What the member's reactions contributed to one part of a score."""

    part = serializers.CharField(help_text="item_weights, co_liked or liked_next.")
    weight = serializers.FloatField(help_text="The weight of the part in the ranking policy.")
    reactions = ReactionReasonOut(many=True, help_text="The largest contributions, largest first.")
    others = serializers.FloatField(help_text="What all other reactions contributed together.")


class ExplanationOut(serializers.Serializer):
    """Why a post was served to a member, or was not."""

    request_id = serializers.UUIDField()
    post_id = serializers.CharField()
    status = serializers.ChoiceField(["served", "ranked", "outranked", "filtered", "not_a_candidate", "not_in_slate"])
    sentence = serializers.CharField()
    rank = serializers.IntegerField(
        allow_null=True, help_text="Rank in the slate, or among all candidates if outranked. The first rank is 1."
    )
    ranked_count = serializers.IntegerField(allow_null=True, help_text="Number of ranked posts.")
    score = serializers.FloatField(allow_null=True)
    parts = serializers.DictField(
        child=serializers.FloatField(), allow_null=True, help_text="Their sum in float32, in this order, is the score."
    )
    sources = serializers.ListField(child=serializers.CharField())
    reasons = ReasonOut(many=True)
    filter = serializers.CharField(
        allow_null=True, help_text="The filter for the viewer's own preferences that dropped the post."
    )
    because = BecauseOut(
        many=True,
        help_text="For each collaborative part: the member's reactions behind it. In float32, the weight times the sum "
        "of all values and others is the part.",
    )
