"""The introduction to the REST API and its groups of operations, which the OpenAPI schema contains."""

DESCRIPTION = """\
Feeds, similar posts, interactions and jobs of a recommendation service.

1. **Get a key.** In the admin (*API keys*), or with `./manage.py key create NAME --scope feeds:read`. Send it with each
   request: `Authorization: Bearer rk_…`. A service that was started with `make run` needs no key on its own machine.
2. **Ask for a feed.** `GET /api/v1/members/42/feed?limit=20` returns posts for member 42 with their scores and reasons.
3. **Send what happens.** `POST /api/v1/interactions` records likes, clicks and impressions. They change the next feed.

Reasons come in the member's language, or in that of `Accept-Language` if it names one that the service speaks: English
or German. Errors are problem documents (RFC 9457), in English. The documentation is at [/docs/](/docs/). What decides
about feeds is described in plain language at [/main-parameters/](/main-parameters/).
"""
TAGS = {
    "feeds": "Feeds, similar posts, search and explanations",
    "interactions": "Likes, clicks, impressions and other events",
    "members": "Members, their preferences, relationships, exports and erasure",
    "posts": "Posts, their vectors and pictures",
    "jobs": "Long work: feeds of many members, imports, exports, erasure",
    "policies": "The settings that rank feeds",
    "flags": "Feature flags, segments, rollouts and approvals",
    "experiments": "Experiments and their results",
    "product": "Whether recommendations are any good",
    "ofrep": "Flag evaluation by the OpenFeature Remote Evaluation Protocol",
    "access": "Tokens of members",
}
"""Groups of operations in the order of the documentation, each with its description."""
