"""
Errors that services raise for a request that they cannot carry out.

Each entry point renders them in its own form: REST and GraphQL as a problem of RFC 9457, a command as an exit code.
`code`, `status` and the message are public. Clients compare the code, so a code never changes its meaning.
"""

from __future__ import annotations

from django.db import InterfaceError, OperationalError
from django.utils.translation import gettext
from redis import RedisError


class ServiceError(Exception):
    """A request that cannot be carried out. The message says what happened, to which value, and what to do."""

    code = "service-error"
    status = 500


class UnknownMember(ServiceError):  # noqa: N818 -- the names read as sentences where the errors are raised
    """No member has this id."""

    code, status = "unknown-member", 404

    def __init__(self, member_id: str) -> None:
        super().__init__(
            gettext("There is no member {id}. Import the member first, or check the id.").format(id=repr(member_id))
        )


class PostNotVisible(ServiceError):  # noqa: N818
    """
    This viewer can see no post with this id.

    The answer is the same for a hidden post and for a missing one: otherwise a viewer could find out which ids exist.
    """

    code, status = "unknown-post", 404

    def __init__(self, post_id: str) -> None:
        super().__init__(f"There is no post {post_id!r} that this viewer can see.")


class PostNotFound(ServiceError):  # noqa: N818
    """No post has this id. Only for the platform itself: raise `PostNotVisible` for a request of a viewer."""

    code, status = "unknown-post", 404

    def __init__(self, post_id: str) -> None:
        super().__init__(f"There is no post {post_id!r}. Send the post first, or check the id.")


class UnknownRequest(ServiceError):  # noqa: N818
    """This viewer has no feed request with this id, or the request is too old or too new to be found."""

    code, status = "unknown-request", 404

    def __init__(self, request_id: object) -> None:
        super().__init__(
            f"This viewer has no feed request {request_id}. A new request can be looked up after about a second."
        )


class UnknownFollowRequest(ServiceError):  # noqa: N818
    """The member has no pending follow request of this requester: not yet, not any more, or there is no such member."""

    code, status = "unknown-follow-request", 404

    def __init__(self, requester_id: str) -> None:
        super().__init__(f"There is no pending follow request of {requester_id!r}.")


class InputsUnavailable(ServiceError):  # noqa: N818
    """A request cannot be ranked again because part of its inputs is missing or has changed."""

    code, status = "inputs-unavailable", 409

    def __init__(self, request_id: object, reason: str) -> None:
        super().__init__(f"Request {request_id} cannot be ranked again: {reason}.")


class UnknownJob(ServiceError):  # noqa: N818
    """No job has this id."""

    code, status = "unknown-job", 404

    def __init__(self, job_id: object) -> None:
        super().__init__(f"There is no job {job_id}. Check the id.")


class JobFileNotFound(ServiceError):  # noqa: N818
    """The job has no file to download: not yet, not any more, or never."""

    code, status = "no-job-file", 404

    def __init__(self, job_id: object) -> None:
        super().__init__(
            f"Job {job_id} has no file: it is not done, its kind produces no file, or the file has expired."
        )


class JobNotCancellable(ServiceError):  # noqa: N818
    """A job of this kind cannot be cancelled."""

    code, status = "job-not-cancellable", 409

    def __init__(self, kind: str) -> None:
        super().__init__(f"A job of the kind {kind} cannot be cancelled: what it erases is hidden already.")


class UnknownErasure(ServiceError):  # noqa: N818
    """No receipt of an erasure has this id."""

    code, status = "unknown-erasure", 404

    def __init__(self, receipt_id: object) -> None:
        super().__init__(f"There is no erasure {receipt_id}. Check the id.")


class UnknownPolicy(ServiceError):  # noqa: N818
    """No ranking policy is active for this variant."""

    code, status = "unknown-policy", 404

    def __init__(self, variant: str) -> None:
        super().__init__(f"The variant {variant!r} has no active policy. Its feeds use the default settings.")


class UnknownModel(ServiceError):  # noqa: N818
    """No trained model has this id."""

    code, status = "unknown-model", 404

    def __init__(self, model_id: object) -> None:
        super().__init__(
            gettext("There is no trained model {id}. List them with `manage.py models`.").format(id=model_id)
        )


class ModelNotUsable(ServiceError):  # noqa: N818
    """A trained model cannot be activated in its state, or there is no model to roll back to."""

    code, status = "model-not-usable", 409


class TooFewLikes(ServiceError):  # noqa: N818
    """There are too few members with likes to train a model and to measure it."""

    code, status = "too-few-likes", 409

    def __init__(self, members: int, needed: int, likes: int) -> None:
        super().__init__(
            f"{members:,} members have {likes} likes or more, and a training needs {needed:,}. "
            "Train again when more likes have been learned."
        )


class TooFewCases(ServiceError):  # noqa: N818
    """A half of the members has too few test cases to tune a policy or to measure it."""

    code, status = "too-few-cases", 409

    def __init__(self, data: str, cases: int, needed: int) -> None:
        super().__init__(
            f"{data}: half of the members have {cases:,} cases, and each half needs {needed:,}. "
            "Tune again when members have liked more."
        )


class VersionConflict(ServiceError):  # noqa: N818
    """The object has changed since the caller read it."""

    code, status = "version-conflict", 412

    def __init__(self, name: str, version: int) -> None:
        super().__init__(
            f"{name} has changed since you read it and is now at version {version}. "
            "Read it again, then repeat the change."
        )


class InactiveMember(ServiceError):  # noqa: N818
    """A deactivated member gets no feed."""

    code, status = "inactive-member", 409

    def __init__(self, member_id: str) -> None:
        super().__init__(
            gettext("Member {id} is deactivated and gets no feed. Activate the member first.").format(
                id=repr(member_id)
            )
        )


class InvalidRequest(ServiceError):  # noqa: N818
    """A value cannot be used; *pointer* is a JSON pointer to the value."""

    code, status = "invalid-request", 400

    def __init__(self, message: str, pointer: str = "") -> None:
        super().__init__(message)
        self.pointer = pointer


class FactsUnavailable(ServiceError):  # noqa: N818
    """The viewer's facts cannot be read. Nothing is served, because a blocked author could be among the posts."""

    code, status = "facts-unavailable", 503


SERVER_ERRORS = (FactsUnavailable, InterfaceError, OperationalError, RedisError)
"""Errors of a server that does not answer. They say nothing about the item that was processed, so it is tried again."""
