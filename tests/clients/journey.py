"""What an integrator does with the client that is generated from the API's description. Prints what it found."""

import json
import sys
import time
from datetime import UTC, datetime

from recsys_client import AuthenticatedClient
from recsys_client.api.feeds import feed
from recsys_client.api.interactions import mark_seen, record_interactions
from recsys_client.api.jobs import job, submit_job
from recsys_client.api.members import send_members
from recsys_client.api.posts import send_posts
from recsys_client.models import (
    EventKindEnum,
    EventRequest,
    EventResultsOut,
    EventsBodyRequest,
    JobBodyRequest,
    JobBodyRequestParams,
    JobKind,
    JobOut,
    MemberItemRequest,
    MembersBodyRequest,
    OutcomesOut,
    PageOut,
    PostItemRequest,
    PostsBodyRequest,
    Problem,
    SeenBodyRequest,
    SeenOut,
    VisibilityEnum,
)
from recsys_client.types import UNSET

MEMBER, AUTHOR = "py-reader", "py-author"


def page_of(api: AuthenticatedClient, cursor: str | None = None) -> PageOut:
    """Return a page of the member's feed."""
    found = feed.sync(MEMBER, client=api, limit=5, cursor=cursor or UNSET)
    assert isinstance(found, PageOut), found
    return found


def first_page(api: AuthenticatedClient) -> PageOut:
    """Return the first page once the posts are in: a process follows the catalogue within a second."""
    deadline = time.monotonic() + 60
    while len((page := page_of(api)).picks) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return page


def main(url: str, key: str) -> None:
    api = AuthenticatedClient(base_url=url, token=key)
    members = MembersBodyRequest([MemberItemRequest(id, is_private=False, languages=["en"]) for id in (MEMBER, AUTHOR)])
    assert isinstance(send_members.sync(client=api, body=members), OutcomesOut)
    posts = [
        PostItemRequest(
            id=f"py-post-{n}",
            author_id=AUTHOR,
            text=f"Bread and yeast, part {n}",
            language="en",
            visibility=VisibilityEnum.PUBLIC,
            created_at=datetime.now(UTC),
        )
        for n in range(12)
    ]
    sent = send_posts.sync(client=api, body=PostsBodyRequest(posts))
    assert isinstance(sent, OutcomesOut), sent

    first = first_page(api)
    second = page_of(api, first.next_cursor)
    shown = first.picks[0].post.id
    event = EventRequest(event_id="py-1", member_id=MEMBER, post_id=shown, kind=EventKindEnum.LIKE)
    acts = record_interactions.sync(client=api, body=EventsBodyRequest([event]))
    assert isinstance(acts, EventResultsOut), acts
    assert isinstance(mark_seen.sync(MEMBER, client=api, body=SeenBodyRequest([shown])), SeenOut)
    params = JobBodyRequestParams()
    params["member_ids"] = [MEMBER]
    asked = submit_job.sync(client=api, body=JobBodyRequest(JobKind.MEMBER_FEED, params))
    assert isinstance(asked, JobOut), asked
    followed = job.sync(asked.id, client=api)
    assert isinstance(followed, JobOut), followed
    refused = feed.sync("nobody", client=api)
    assert isinstance(refused, Problem), refused
    found = {
        "posts": len(sent.results),
        "pages": [[pick.post.id for pick in page.picks] for page in (first, second)],
        "act": acts.results[0].status,
        "job": followed.kind,
        "refused": refused.code,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
