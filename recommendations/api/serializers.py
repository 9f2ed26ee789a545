"""
Serializers that validate requests, and serializers that describe responses in the OpenAPI schema.

`responses.py` builds the responses.
"""

from base64 import b64decode
from typing import Any

from rest_framework import serializers

from access.limited_fields import LimitedListField
from access.problems import Problem
from access.typed_fields import StrictSerializer, TypedField
from recommendations.contracts import CONTENT_SPACE, EmptyReason, Reason
from recommendations.services import work
from recommendations.services.content.importing.fields import (
    FIRST_BIRTH_YEAR,
    INTERACTION_KINDS,
    SENSITIVITIES,
    TARGETS,
    VISIBILITIES,
)
from recommendations.services.members import follow_requests
from recommendations.services.members.interactions import MAX_INTERACTIONS
from recommendations.services.serving.recommend import FEEDS
from values.limits import MAX_ID
from values.types import (
    MAX_LIST,
    MAX_PREFERENCES,
    Boolean,
    FieldName,
    Id,
    Language,
    MeasuredValue,
    Media,
    ModelName,
    Region,
    SafetyLabels,
    Slug,
    Text,
    Time,
    Uuid,
    VectorNumbers,
    Word,
    choice_of,
    number_from,
    whole_number_from,
)

JOB_STATES = ("queued", "running", "done", "failed", "cancelled")
ITEM_STATUSES = ("created", "updated", "unchanged", "rejected")
INTERACTION_KIND_NAMES = tuple(INTERACTION_KINDS)
EVENT_STATUSES = ("recorded", "duplicate", "rejected")
MAX_ITEMS = 1000


def id_field(**options: Any) -> TypedField:
    """Return a field for an id of the platform."""
    return TypedField(Id, **options)


def list_field(value_type: Any, *, max_length: int = MAX_LIST, **options: Any) -> LimitedListField:
    """Return a field for a list of values of a type."""
    return LimitedListField(child=TypedField(value_type), max_length=max_length, **options)


def repeated_field(value_type: Any, help_text: str, *, max_count: int = 20) -> LimitedListField:
    """Return a field for a query parameter that may be repeated up to *max_count* times."""
    return list_field(value_type, required=False, default=list, max_length=max_count, help_text=help_text)


class FeedQuery(StrictSerializer):
    """Query parameters of a feed."""

    feed = serializers.ChoiceField(FEEDS, default="discovery", help_text="Name of the feed.")
    limit = TypedField(whole_number_from(1, 100), default=20, help_text="Posts per page.")
    cursor = serializers.CharField(
        max_length=500, required=False, default=None, help_text="next_cursor of the previous page."
    )
    explain = TypedField(Boolean, default=False, help_text="Include the parts of each score.")
    language = repeated_field(
        Language, "Only posts in this language, such as pt, which includes pt-BR; may be repeated."
    )
    kind = repeated_field(Slug, "Only posts of this kind; may be repeated.")
    tag = repeated_field(Word, "Only posts with this tag; may be repeated.")
    max_age_hours = TypedField(
        number_from(0.01, 876_000), required=False, default=None, help_text="Only posts at most this old."
    )
    exclude_post_id = repeated_field(Id, "Id of a post to leave out; may be repeated.", max_count=100)
    fields = repeated_field(  # type: ignore[assignment]  # hides DRF's property on the class, not on instances
        FieldName, "Only these fields of a pick, such as post.id or score; may be repeated. Default: all.", max_count=20
    )


class SimilarQuery(StrictSerializer):
    """Query parameters of similar posts."""

    viewer_id = id_field(help_text="The viewing member. Posts that this member may not see are left out.")
    limit = TypedField(whole_number_from(1, 100), default=10)


class SearchQuery(StrictSerializer):
    """Query parameters of a search by a text or by a post."""

    viewer_id = id_field(help_text="The viewing member.")
    space = serializers.SlugField(
        max_length=16,
        default=CONTENT_SPACE,
        help_text="The embedding space: content has the texts of posts; in image, texts and pictures share it.",
    )
    text = serializers.CharField(max_length=1000, default="", allow_blank=True)
    post_id = id_field(default="", allow_blank=True)
    kind = TypedField(Slug, default="", allow_blank=True, help_text="Only posts of this kind.")
    limit = TypedField(whole_number_from(1, 100), default=10)


class SearchBody(StrictSerializer):
    """Body of a search by a vector."""

    viewer_id = id_field(help_text="The viewing member.")
    space = serializers.SlugField(max_length=16, default=CONTENT_SPACE)
    vector = TypedField(VectorNumbers)
    kind = TypedField(Slug, default="", allow_blank=True)
    limit = TypedField(whole_number_from(1, 100), default=10)


MAX_PICTURES = 20
"""Pictures per request. At 13 ms each on one core and a body of 5 MB, the response takes less than a second."""


class AnyJSONField(serializers.Field):
    """A field that accepts any JSON value. DRF's JSONField would reject the whole list for one number out of range."""

    def to_internal_value(self, data: Any) -> Any:
        return data


class VectorItem(StrictSerializer):
    """The vector of one post."""

    post_id = id_field()
    vector = TypedField(VectorNumbers)


class UncheckedVectors(StrictSerializer):
    """Vectors of one embedding model, validated separately, so that an invalid one does not reject the others."""

    embedding_model = TypedField(ModelName)
    vectors = LimitedListField(child=AnyJSONField(allow_null=True), min_length=1, max_length=MAX_ITEMS)


class VectorsBody(StrictSerializer):
    """The body of `UncheckedVectors` for the OpenAPI schema, with the fields of a vector."""

    embedding_model = TypedField(ModelName, help_text="The platform's embedding model, with its version.")
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


class PictureItem(StrictSerializer):
    """The picture of one post."""

    post_id = id_field()
    image = Base64Field(help_text="A JPEG, PNG or WebP file, encoded in base64.")


class UncheckedPictures(StrictSerializer):
    """Pictures to embed, validated separately. Only their vectors are stored."""

    pictures = LimitedListField(child=AnyJSONField(allow_null=True), min_length=1, max_length=MAX_PICTURES)


class PicturesBody(StrictSerializer):
    """The body of `UncheckedPictures` for the OpenAPI schema, with the fields of a picture."""

    pictures = LimitedListField(child=PictureItem(), min_length=1, max_length=MAX_PICTURES)


class RejectedListItemOut(serializers.Serializer):
    """An item of a list that was rejected."""

    index = serializers.IntegerField(help_text="Its position in the list, from 0.")
    problem = Problem()


class StoredVectorsOut(serializers.Serializer):
    """The number of stored vectors, the ids without a post, and the items that were rejected."""

    stored = serializers.IntegerField()
    unknown_post_ids = serializers.ListField(child=serializers.CharField())
    rejected = RejectedListItemOut(many=True)


class ExplainQuery(StrictSerializer):
    """Query parameters of an explanation."""

    viewer_id = id_field(help_text="The member who requested the feed.")


class MembersQuery(StrictSerializer):
    """Query parameters of the list of members."""

    prefix = serializers.CharField(
        max_length=MAX_ID, default="", allow_blank=True, trim_whitespace=False, help_text="First characters of the id."
    )
    limit = TypedField(whole_number_from(1, 100), default=20)


class JobsQuery(StrictSerializer):
    """Query parameters of the list of jobs."""

    kind = serializers.ChoiceField(work.KIND_NAMES, default="", allow_blank=True)
    state = serializers.ChoiceField(JOB_STATES, default="", allow_blank=True)
    limit = TypedField(whole_number_from(1, 100), default=20)
    cursor = TypedField(Time, required=False, default=None, help_text="next_cursor of the previous page.")


class EventIn(StrictSerializer):
    """An interaction of a member with a post, or the undo of an earlier event."""

    null_means_omitted = True

    event_id = id_field(
        help_text="Chosen by the sender, unique for the member. Sent again with the same content, it counts once."
    )
    member_id = id_field()
    post_id = id_field(required=False, help_text="Required unless the event undoes another event.")
    kind = TypedField(
        choice_of(INTERACTION_KINDS),
        required=False,
        help_text="Required unless the event undoes another event. follow: the member follows the post's author.",
    )
    target = TypedField(
        choice_of(TARGETS),
        required=False,
        allow_blank=True,
        default="",
        help_text="Only for not_interested: what the member wants less of. Empty: only this post.",
    )
    undoes_event_id = id_field(
        required=False, help_text="The event_id of an event of this member and sender that this event undoes."
    )
    value = TypedField(
        MeasuredValue,
        required=False,
        allow_null=True,
        default=None,
        help_text="Seconds of a dwell, or stars of a rating.",
    )
    occurred_at = TypedField(
        Time, required=False, allow_null=True, default=None, help_text="Default: the time of the request."
    )
    request_id = TypedField(
        Uuid,
        required=False,
        allow_null=True,
        default=None,
        help_text="request_id of the feed page that contained the post.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Reject an event without `undoes_event_id` that lacks `post_id` or `kind`."""
        missing = [] if attrs.get("undoes_event_id") else [name for name in ("post_id", "kind") if not attrs.get(name)]
        if missing:
            raise serializers.ValidationError(dict.fromkeys(missing, "This field is required."), code="required")
        return attrs


class UncheckedEvents(StrictSerializer):
    """A list of events. Each event is validated separately, so that an invalid one does not reject the others."""

    events = LimitedListField(child=AnyJSONField(allow_null=True), min_length=1, max_length=MAX_ITEMS)


class EventsBody(StrictSerializer):
    """The body of `UncheckedEvents` for the OpenAPI schema, with the fields of an event."""

    events = LimitedListField(child=EventIn(), min_length=1, max_length=MAX_ITEMS)


class PostIn(StrictSerializer):
    """A post in a request. The service validates it and reports an error for each field."""

    id = id_field()
    author_id = id_field(help_text="A member that exists.")
    visibility = TypedField(choice_of(VISIBILITIES))
    created_at = TypedField(Time)
    text = TypedField(Text, required=False)
    kind = TypedField(Slug, required=False, help_text="Such as text, image or video.")
    language = TypedField(Language, required=False, help_text="A BCP 47 tag such as en, pt-BR or zh-Hant.")
    tags = list_field(Word, required=False, help_text="Main tag first.")
    media = TypedField(Media, required=False, help_text="Objects with kind, url and alt.")
    safety_labels = TypedField(SafetyLabels, required=False, help_text='Such as {"violence": 0.4}.')
    removed_at = TypedField(
        Time,
        required=False,
        allow_null=True,
        help_text="When the post was removed. null: the post is not removed; this restores a removed post.",
    )


class MemberIn(StrictSerializer):
    """A member in a request."""

    id = id_field()
    is_private = TypedField(Boolean, help_text="Only followers see the member's posts.")
    languages = list_field(Language, required=False, help_text="BCP 47 tags, preferred first. pt includes pt-BR.")
    region = TypedField(Region, required=False)
    birth_year = TypedField(whole_number_from(FIRST_BIRTH_YEAR, 2200), required=False, allow_null=True)
    is_adult = TypedField(
        Boolean,
        required=False,
        allow_null=True,
        help_text="Whether the platform has verified that the member is an adult.",
    )
    is_active = TypedField(Boolean, required=False)
    is_personalized = TypedField(
        Boolean,
        required=False,
        help_text="Whether the member agrees that feeds learn from what they do. Not sent: the setting "
        "PERSONALIZATION_CONSENT decides.",
    )
    sensitivity = TypedField(choice_of(SENSITIVITIES), required=False)
    muted_words = list_field(Word, required=False)
    muted_tags = list_field(Word, required=False)
    interest_tags = list_field(Word, required=False, help_text="Tags that the member says they like.")
    created_at = TypedField(Time, required=False)


class UncheckedPosts(StrictSerializer):
    """A list of posts. Each post is validated separately, so that an invalid one does not reject the others."""

    posts = LimitedListField(child=AnyJSONField(allow_null=True), min_length=1, max_length=MAX_ITEMS)


class UncheckedMembers(StrictSerializer):
    """A list of members, validated in the same way."""

    members = LimitedListField(child=AnyJSONField(allow_null=True), min_length=1, max_length=MAX_ITEMS)


UNCHECKED_LISTS: dict[str, type[serializers.Serializer]] = {"posts": UncheckedPosts, "members": UncheckedMembers}


class PostsBody(StrictSerializer):
    """The body of `UncheckedPosts` for the OpenAPI schema, with the fields of a post."""

    posts = LimitedListField(child=PostIn(), min_length=1, max_length=MAX_ITEMS)


class MembersBody(StrictSerializer):
    """The body of `UncheckedMembers` for the OpenAPI schema, with the fields of a member."""

    members = LimitedListField(child=MemberIn(), min_length=1, max_length=MAX_ITEMS)


class UncheckedSeenPosts(StrictSerializer):
    """Ids of posts that were on a member's screen, validated separately."""

    post_ids = LimitedListField(child=AnyJSONField(allow_null=True), min_length=1, max_length=MAX_ITEMS)


class SeenPostsBody(StrictSerializer):
    """The body of `UncheckedSeenPosts` for the OpenAPI schema."""

    post_ids = LimitedListField(child=id_field(), min_length=1, max_length=MAX_ITEMS)


class JobOptions(StrictSerializer):
    """When a job is processed."""

    priority = serializers.ChoiceField(
        work.PRIORITY_NAMES,
        default=None,
        allow_null=True,
        help_text="Jobs with a higher priority are processed first. Default: high for member_feed, else normal.",
    )
    deadline = TypedField(
        Time,
        default=None,
        allow_null=True,
        help_text="At this time the part of the job that has not begun is cancelled.",
    )


class JobBody(JobOptions):
    """A job to submit."""

    kind = serializers.ChoiceField(work.KIND_NAMES)
    params = serializers.DictField(required=False, default=dict, help_text='Such as {"member_ids": ["42"]}.')


class JobRetryBody(StrictSerializer):
    """What to retry of a job."""

    item_ids = list_field(
        whole_number_from(0, 2**63 - 1),
        max_length=MAX_ITEMS,
        min_length=1,
        default=None,
        allow_null=True,
        help_text="The failed items to retry, as in the list of failures. Default: all failed and cancelled items.",
    )


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


class EmptyReasonOut(serializers.Serializer):
    """Why a page has no picks."""

    code = serializers.ChoiceField([reason.value for reason in EmptyReason])
    sentence = serializers.CharField()


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
    empty_reason = EmptyReasonOut(allow_null=True, help_text="Why there are no picks. null if there are.")


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
    """The number of posts that were marked as seen, and the ids that were rejected."""

    marked = serializers.IntegerField(help_text="Ids without a post that the member may see are not counted.")
    rejected = RejectedListItemOut(many=True)


class InteractionsQuery(StrictSerializer):
    """Query parameters of the list of a member's interactions."""

    member_id = id_field()
    kind = repeated_field(choice_of(INTERACTION_KINDS), "Only interactions of this kind; may be repeated.")
    limit = TypedField(whole_number_from(1, MAX_INTERACTIONS), default=20)
    cursor = serializers.CharField(
        max_length=500, required=False, default=None, help_text="next_cursor of the previous page."
    )


class InteractionOut(serializers.Serializer):
    """An interaction of a member with a post."""

    post = PostOut()
    kind = serializers.ChoiceField(INTERACTION_KIND_NAMES)
    target = serializers.CharField(help_text="What a not_interested is about: author, topic or kind. Empty: the post.")
    value = serializers.FloatField(allow_null=True, help_text="Seconds of a dwell, or stars of a rating.")
    occurred_at = serializers.DateTimeField()


class InteractionsOut(serializers.Serializer):
    """A page of a member's interactions, newest first."""

    interactions = InteractionOut(many=True)
    next_cursor = serializers.CharField(allow_null=True)


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


class JobFailuresQuery(StrictSerializer):
    """Query parameters of the list of failed items."""

    limit = TypedField(whole_number_from(1, 100), default=20)
    cursor = TypedField(whole_number_from(0, 2**63 - 1), default=0, help_text="next_cursor of the previous page.")


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


class PreferencesBody(StrictSerializer):
    """The preferences of a member."""

    null_means_omitted = True

    languages = list_field(Language, help_text="Preferred language first. pt includes pt-BR. Empty: any language.")
    region = TypedField(Region, help_text="Such as DE. Selects the trending posts.")
    is_private = TypedField(Boolean, help_text="Only followers see the member's posts.")
    is_personalized = TypedField(Boolean, help_text="false: nothing is learned, and learned interests are deleted.")
    sensitivity = TypedField(choice_of({name: name for name in SENSITIVITIES}))
    muted_words = list_field(Word, max_length=MAX_PREFERENCES)
    muted_tags = list_field(Word, max_length=MAX_PREFERENCES)
    interest_tags = list_field(
        Word,
        max_length=MAX_PREFERENCES,
        help_text="Tags that the member says they like, such as at sign-up. Used only with is_personalized.",
    )


class FollowRequestsQuery(StrictSerializer):
    """Query parameters of the list of follow requests."""

    direction = serializers.ChoiceField(
        follow_requests.DIRECTIONS,
        default="incoming",
        help_text="incoming: requests that the member has received. outgoing: those that the member has sent.",
    )
    limit = TypedField(whole_number_from(1, follow_requests.MAX_REQUESTS), default=20)
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
