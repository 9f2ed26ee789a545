"""Types of the GraphQL schema. Pages are Relay connections with the cursors of the services."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import strawberry
from django.utils.translation import gettext, override
from strawberry.scalars import JSON

from recommendations.api.interactions import EventResultBody
from recommendations.contracts import EMPTY_SENTENCES, REASON_SENTENCES, EmptyReason, PostView
from recommendations.contracts import Reason as ReasonCode
from recommendations.services import work
from recommendations.services.explaining import explain as explaining
from recommendations.services.members import follow_requests, preferences
from recommendations.services.serving import final_check
from recommendations.services.serving.pages import Page, cursor_after


@strawberry.type(description="A post, as the viewer may see it.")
class Post:
    id: strawberry.ID
    author_id: strawberry.ID
    text: str
    kind: str
    language: str = strawberry.field(description="Empty if unknown.")
    tags: list[str]
    media: JSON
    created_at: datetime

    @classmethod
    def from_service(cls, post: PostView) -> Post:
        return cls(
            id=strawberry.ID(post.id),
            author_id=strawberry.ID(post.author_id),
            text=post.text,
            kind=post.kind,
            language=post.language,
            tags=post.tags,
            media=JSON(post.media),
            created_at=post.created_at,
        )


@strawberry.type(description="A reason why a post was recommended.")
class Reason:
    code: str
    sentence: str

    @classmethod
    def from_service(cls, reason: ReasonCode, language: str) -> Reason:
        with override(language):
            return cls(code=reason.name.lower(), sentence=gettext(REASON_SENTENCES[reason]))


@strawberry.type(description="One addend of a score.")
class ScorePart:
    name: str
    value: float


@strawberry.type(description="A recommended post, with its score and reasons.")
class Pick:
    post: Post
    score: float
    reasons: list[Reason]
    sources: list[str]
    parts: list[ScorePart] | None = strawberry.field(description="The score is their sum. null without explain: true.")

    @classmethod
    def from_service(cls, pick: final_check.Pick, language: str) -> Pick:
        return cls(
            post=Post.from_service(pick.post),
            score=pick.score,
            reasons=[Reason.from_service(reason, language) for reason in pick.reasons],
            sources=list(pick.sources),
            parts=build_score_parts(pick.parts),
        )


def build_picks(page: Page, language: str) -> list[Pick]:
    """Return the picks of a page, with their reasons in this language."""
    return [Pick.from_service(pick, language) for pick in page.picks]


def build_score_parts(parts: dict[str, float] | None) -> list[ScorePart] | None:
    """Return score parts as a list, because GraphQL objects have fixed fields. None for None."""
    return None if parts is None else [ScorePart(name=name, value=value) for name, value in parts.items()]


@strawberry.type(description="Position of a page among the others.")
class PageInfo:
    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@strawberry.type(description="A pick, and the cursor after it.")
class PickEdge:
    cursor: str
    node: Pick


@strawberry.type(description="A page of a feed, and how its slate was built.")
class Feed:
    edges: list[PickEdge]
    page_info: PageInfo
    request_id: UUID = strawberry.field(description="Send it with the interactions with these posts.")
    member_id: strawberry.ID
    engine: str
    variant: str
    fallback: str = strawberry.field(description="The fallback step that served the page. Empty if none was needed.")
    is_cached: bool
    built_at: datetime
    candidate_count: int
    empty_reason: str | None = strawberry.field(description="A sentence that says why there are no posts.")

    @classmethod
    def from_service(cls, page: Page, after: str | None, language: str) -> Feed:
        cursors = [cursor_after(page, i) for i in range(len(page.picks))]
        first_cursor, last_cursor = (cursors[0], cursors[-1]) if cursors else (None, None)
        return cls(
            edges=[
                PickEdge(cursor=c, node=Pick.from_service(pick, language))
                for c, pick in zip(cursors, page.picks, strict=True)
            ],
            page_info=PageInfo(
                has_next_page=page.next_cursor is not None,
                has_previous_page=after is not None,
                start_cursor=first_cursor,
                end_cursor=page.next_cursor or last_cursor,
            ),
            request_id=page.request_id,
            member_id=strawberry.ID(page.member_id),
            engine=page.engine,
            variant=page.variant,
            fallback=page.fallback,
            is_cached=page.is_cached,
            built_at=page.built_at,
            candidate_count=page.candidate_count,
            empty_reason=translate_empty_reason(page.empty_reason, language) if page.empty_reason else None,
        )


def translate_empty_reason(reason: EmptyReason, language: str) -> str:
    """Return why a page is empty, in this language."""
    with override(language):
        return gettext(EMPTY_SENTENCES[reason])


@strawberry.type(description="A post that the member liked or rejected.")
class ReactionReason:
    post_id: strawberry.ID
    text: str
    value: float = strawberry.field(description="What the reaction contributed. Negative if it lowers the score.")


@strawberry.type(description="What the member's reactions contributed to one part of a score.")
class Because:
    part: str = strawberry.field(description="item_weights, co_liked or liked_next.")
    weight: float = strawberry.field(description="The weight of the part in the ranking policy.")
    reactions: list[ReactionReason] = strawberry.field(description="The largest contributions, largest first.")
    others: float = strawberry.field(description="What all other reactions contributed together.")

    @classmethod
    def from_service(cls, because: explaining.Because) -> Because:
        return cls(
            part=because.part,
            weight=because.weight,
            reactions=[
                ReactionReason(post_id=strawberry.ID(r.post_id), text=r.text, value=r.value) for r in because.reactions
            ],
            others=because.others,
        )


@strawberry.type(description="Why a post was served to a member, or was not.")
class Explanation:
    request_id: UUID
    post_id: strawberry.ID
    status: str
    sentence: str
    rank: int | None
    ranked_count: int | None = strawberry.field(description="Number of ranked posts.")
    score: float | None
    parts: list[ScorePart] | None
    sources: list[str]
    reasons: list[Reason]
    filter: str | None = strawberry.field(
        description="The filter for the viewer's own preferences that dropped the post."
    )
    because: list[Because] = strawberry.field(
        description="For each collaborative part: the member's reactions behind it. In float32, the weight times the "
        "sum of all values and others is the part."
    )

    @classmethod
    def from_service(cls, explanation: explaining.Explanation, language: str) -> Explanation:
        with override(language):
            sentence = str(explanation.sentence)
        return cls(
            request_id=explanation.request_id,
            post_id=strawberry.ID(explanation.post_id),
            status=explanation.status,
            sentence=sentence,
            rank=explanation.rank,
            ranked_count=explanation.ranked_count,
            score=explanation.score,
            parts=build_score_parts(explanation.parts),
            sources=list(explanation.sources),
            reasons=[Reason.from_service(reason, language) for reason in explanation.reasons],
            filter=explanation.filter,
            because=[Because.from_service(because) for because in explanation.because],
        )


@strawberry.type(description="A job and its progress.")
class Job:
    id: UUID
    kind: str
    state: str
    total: int
    done: int
    failed: int
    errors: JSON
    priority: str
    deadline: datetime | None
    is_expired: bool
    is_finished: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def from_service(cls, job: work.JobView) -> Job:
        return cls(
            id=job.id,
            kind=job.kind,
            state=job.state,
            total=job.total,
            done=job.done,
            failed=job.failed,
            errors=JSON(job.errors),
            priority=job.priority,
            deadline=job.deadline,
            is_expired=job.is_expired,
            is_finished=job.is_finished,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
        )


@strawberry.type(description="The preferences of a member.")
class Preferences:
    languages: list[str]
    region: str
    is_private: bool
    is_personalized: bool
    sensitivity: str
    muted_words: list[str]
    muted_tags: list[str]
    interest_tags: list[str]

    @classmethod
    def from_service(cls, values: preferences.Preferences) -> Preferences:
        return cls(**{name: getattr(values, name) for name in values.__dataclass_fields__})


@strawberry.type(description="A pending follow request.")
class FollowRequest:
    member_id: strawberry.ID = strawberry.field(description="The other member: who sent it, or who received it.")
    created_at: datetime


@strawberry.type(description="A page of pending follow requests, newest first.")
class FollowRequests:
    requests: list[FollowRequest]
    next_cursor: str | None

    @classmethod
    def from_service(cls, page: follow_requests.FollowRequestPage) -> FollowRequests:
        return cls(
            requests=[
                FollowRequest(member_id=strawberry.ID(row.member_id), created_at=row.created_at)
                for row in page.follow_requests
            ],
            next_cursor=page.next_cursor,
        )


@strawberry.input(description="Preferences to update. Omitted preferences keep their value.")
class PreferencesInput:
    languages: list[str] | None = None
    region: str | None = None
    is_private: bool | None = None
    is_personalized: bool | None = None
    sensitivity: str | None = None
    muted_words: list[str] | None = None
    muted_tags: list[str] | None = None
    interest_tags: list[str] | None = None


@strawberry.input(description="Restricts the posts of one request. It is not stored.")
class FeedFilterInput:
    languages: list[str] = strawberry.field(default_factory=list)
    kinds: list[str] = strawberry.field(default_factory=list)
    tags: list[str] = strawberry.field(default_factory=list)
    max_age_hours: float | None = None
    exclude_post_ids: list[strawberry.ID] = strawberry.field(default_factory=list)


@strawberry.input(description="An interaction of a member with a post, or the undo of an earlier event.")
class EventInput:
    event_id: strawberry.ID
    member_id: strawberry.ID
    post_id: strawberry.ID | None = None
    kind: str | None = None
    target: str | None = None
    undoes_event_id: strawberry.ID | None = None
    value: float | None = None
    occurred_at: datetime | None = None
    request_id: UUID | None = None


@strawberry.type(description="The result of one event.")
class EventResult:
    event_id: strawberry.ID | None = strawberry.field(description="null if the event has no usable id.")
    status: str
    problem: str

    @classmethod
    def from_result(cls, result: EventResultBody) -> EventResult:
        problem = result["problem"]
        return cls(
            event_id=None if result["event_id"] is None else strawberry.ID(result["event_id"]),
            status=result["status"],
            problem=problem["detail"] if problem else "",
        )
