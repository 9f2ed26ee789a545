"""
What each component of a feed does, in the words of the page of main parameters (`services/explaining`).

The texts are marked for translation, and `services/explaining` translates them for each request.

A reason of a pick and the signal behind it share their sentence, so that a page and an explanation say the same. A test
demands an entry for each source, score part and reranker of every feed.
"""

from __future__ import annotations

from dataclasses import dataclass

from recommendations.contracts import REASON_SENTENCES, InteractionKind, Origin, Reason
from values.translation import translatable


@dataclass(frozen=True, slots=True)
class Signal:
    """A part of the score, in plain language."""

    title: str
    text: str
    """What it looks at, and in which direction it changes a post's place."""
    change: str
    """How a person changes it. Empty: nobody does; it is the same for all."""
    reason: Reason | None = None
    """The reason that a pick shows if this signal brought it."""
    is_personal: bool = False
    """Whether it uses what the member did or chose. If the feed is not personalized, it weighs nothing."""

    @property
    def sentence(self) -> str:
        """The sentence that a pick shows, or an empty text."""
        return REASON_SENTENCES[self.reason] if self.reason is not None else ""


LIKES = translatable("Like or hide posts, undo it, reset the profile, or turn personalization off.")

POPULAR = Signal(
    translatable("Popular"),
    translatable("Posts that members liked most, at any time, rank higher. One member counts a little only."),
    "",
    Reason.POPULAR,
)

SIGNALS: dict[str, Signal] = {
    "taste": Signal(
        translatable("Similar to what you liked"),
        translatable(
            "Posts whose text or picture is close to posts that you liked, shared, saved or commented on rank higher."
        ),
        LIKES,
        Reason.TASTE,
        is_personal=True,
    ),
    "cold_taste": Signal(
        translatable("Similar to what you liked, older posts"),
        translatable("Older posts whose text or picture is close to posts that you liked rank higher."),
        LIKES,
        Reason.TASTE,
        is_personal=True,
    ),
    "dislike": Signal(
        translatable("Similar to what you rejected"),
        translatable("Posts that are close to posts that you hid, reported or were not interested in rank lower."),
        translatable("Undo the rejection, reset the profile, or turn personalization off."),
        is_personal=True,
    ),
    "item_weights": Signal(
        translatable("What members like together, learned"),
        translatable(
            "A model, trained every night, knows which posts are liked by the same members. Posts that go with your "
            "likes rank higher."
        ),
        LIKES,
        Reason.LIKED,
        is_personal=True,
    ),
    "co_liked": Signal(
        translatable("What members like together, counted"),
        translatable("Posts that many members liked together with what you liked last rank higher."),
        LIKES,
        Reason.LIKED,
        is_personal=True,
    ),
    "liked_next": Signal(
        translatable("What members like next"),
        translatable("Posts that members liked after what you liked last rank higher."),
        LIKES,
        Reason.LIKED,
        is_personal=True,
    ),
    "follow": Signal(
        translatable("Whom you follow"),
        translatable("Posts by people whom you follow rank higher."),
        translatable("Follow or unfollow people."),
        Reason.FOLLOWED,
        is_personal=True,
    ),
    "author": Signal(
        translatable("Authors whom you enjoy"),
        translatable("Posts by people whose posts you liked often rank higher."),
        LIKES,
        Reason.AUTHOR,
        is_personal=True,
    ),
    "topic": Signal(
        translatable("Topics that you like"),
        translatable("Posts about topics that you liked often, or that you said you like, rank higher."),
        translatable(
            "Change the topics that you said you like. Like or hide posts, undo it, reset the profile, or turn "
            "personalization off."
        ),
        Reason.TOPIC,
        is_personal=True,
    ),
    "show_less": Signal(
        translatable("What you want to see less of"),
        translatable(
            "Posts by an author, about a topic or of a kind that you asked to see less of rank lower, for months."
        ),
        translatable("Ask to see less of an author, topic or kind of post, or undo it."),
        is_personal=True,
    ),
    "fatigue": Signal(
        translatable("What you were shown recently"),
        translatable("Posts that you were shown and did not open rank lower for some hours."),
        translatable("Turn personalization off."),
        is_personal=True,
    ),
    "popularity": POPULAR,
    "trending_popularity": POPULAR,
    "year_popularity": Signal(
        translatable("Popular in the last year"),
        translatable("Posts that members liked most in the last year rank higher."),
        "",
        Reason.POPULAR,
    ),
    "few_likes_popularity": Signal(
        translatable("Popular, while you are new"),
        translatable("Until you have liked some posts, posts that members liked most rank higher."),
        translatable("Like posts, or state your interests."),
        Reason.POPULAR,
    ),
    "trend": Signal(
        translatable("Trending"),
        translatable("Posts that members liked most in the last hour, day and week rank higher."),
        translatable("Choose your region."),
        Reason.POPULAR,
    ),
    "recency": Signal(translatable("New"), translatable("Newer posts rank higher."), "", Reason.FRESH),
    "quality": Signal(
        translatable("Liked when shown"),
        translatable("Posts that are liked more often than others when they are shown rank higher."),
        "",
    ),
    "exploration": Signal(
        translatable("Not yet seen by many"),
        translatable("Posts that few members were shown rank a little higher, so that new posts find their audience."),
        "",
        Reason.EXPLORATION,
    ),
}
"""By the name of the score part, which is also the name of its weight in a policy."""

SIMILAR_SIGNALS: dict[str, Signal] = {
    "taste": Signal(
        translatable("Similar to the post you are looking at"),
        translatable("Posts whose text or picture is close to this post rank higher."),
        translatable("Look at another post."),
        Reason.SIMILAR,
    ),
    "item_weights": Signal(
        translatable("What members like together, learned"),
        translatable("A model, trained every night, knows which posts are liked by the members who like this post."),
        translatable("Look at another post."),
        Reason.LIKED,
    ),
    "co_liked": Signal(
        translatable("What members like together, counted"),
        translatable("Posts that many members liked together with this post rank higher."),
        translatable("Look at another post."),
        Reason.LIKED,
    ),
    "liked_next": Signal(
        translatable("What members like next"),
        translatable("Posts that members liked after this post rank higher."),
        translatable("Look at another post."),
        Reason.LIKED,
    ),
}
"""The signals of the similar feed: there, the post takes the place of what the viewer did, and nothing is rejected."""

SOURCES: dict[Origin, str] = {
    Origin.NEAREST: translatable("posts similar to what you liked"),
    Origin.INDEXED: translatable("older posts similar to what you liked"),
    Origin.ITEM_WEIGHTS: translatable("posts that the trained model finds for your likes"),
    Origin.CO_LIKED: translatable("posts that members liked together with yours"),
    Origin.LIKED_NEXT: translatable("posts that members liked after yours"),
    Origin.FOLLOWED: translatable("posts by people whom you follow"),
    Origin.TOPIC: translatable("posts about topics that you like"),
    Origin.TRENDING: translatable("trending and popular posts"),
    Origin.FRESH: translatable("the newest posts"),
    Origin.EXPLORATION: translatable("posts that few members were shown"),
}
"""Where the posts of a feed come from."""
SIMILAR_SOURCES: dict[Origin, str] = {
    Origin.NEAREST: translatable("posts similar to this post"),
    Origin.INDEXED: translatable("older posts similar to this post"),
    Origin.ITEM_WEIGHTS: translatable("posts that the trained model finds for this post"),
    Origin.CO_LIKED: translatable("posts that members liked together with this post"),
    Origin.LIKED_NEXT: translatable("posts that members liked after this post"),
}
"""Where the posts of the similar feed come from."""

INTERACTIONS: dict[InteractionKind, str] = {
    InteractionKind.VIEW: translatable("view"),
    InteractionKind.CLICK: translatable("click"),
    InteractionKind.DWELL: translatable("dwell"),
    InteractionKind.LIKE: translatable("like"),
    InteractionKind.COMMENT: translatable("comment"),
    InteractionKind.SHARE: translatable("share"),
    InteractionKind.SAVE: translatable("save"),
    InteractionKind.FOLLOW: translatable("follow"),
    InteractionKind.HIDE: translatable("hide"),
    InteractionKind.NOT_INTERESTED: translatable("not interested"),
    InteractionKind.REPORT: translatable("report"),
}
"""What members do to posts."""

RERANKERS: dict[str, str] = {
    "diversity": translatable("Posts that are alike are spread: after one of them, the others rank lower."),
    "exploration_slots": translatable("Some places are reserved for posts that few members were shown."),
    "spacing": translatable("Posts by one author or about one topic do not follow each other for long."),
    "show_less_last": translatable("Posts of which you asked to see less come last."),
}
"""By the name of the component: what changes the order after the score."""

FEEDS: dict[str, tuple[str, str]] = {
    "discovery": (
        translatable("Discovery"),
        translatable("Posts that you are likely to enjoy, from all of the service."),
    ),
    "following": (translatable("Following"), translatable("The newest posts by people whom you follow.")),
    "trending": (
        translatable("Trending"),
        translatable("What is popular now: the same for all, except for what you may not or do not want to see."),
    ),
    "non_personalized": (
        translatable("Non-personalized"),
        translatable("What is popular and new, without anything that you did. No profile and no history is read."),
    ),
    "similar": (translatable("Similar posts"), translatable("Posts that go with one post. What you did is not used.")),
}
"""By feed: its title, and what it is for."""
