"""What a service may refuse, and why. Doors turn each into their own form: a problem of RFC 9457, an exit code."""

from __future__ import annotations


class ServiceError(Exception):
    """Something was asked for that cannot be done. The message says what, with what, and what to do."""

    code = "service-error"
    status = 500


class UnknownMember(ServiceError):  # noqa: N818 -- read as words in the doors
    """No member has this id."""

    code, status = "unknown-member", 404

    def __init__(self, member_id: str) -> None:
        super().__init__(f"There is no member {member_id!r}. Import it first, or check the id.")


class PostNotVisible(ServiceError):  # noqa: N818
    """No post that this viewer may see has this id. The same answer for both: an id must not be found out by asking."""

    code, status = "unknown-post", 404

    def __init__(self, post_id: str) -> None:
        super().__init__(f"There is no post {post_id!r} for this viewer.")


class PostNotFound(ServiceError):  # noqa: N818
    """No post has this id. For the platform itself: to a viewer this would tell too much."""

    code, status = "unknown-post", 404

    def __init__(self, post_id: str) -> None:
        super().__init__(f"There is no post {post_id!r}. Send it first, or check the id.")


class UnknownRequest(ServiceError):  # noqa: N818
    """No feed request of this viewer has this id, or it is too old or too new to be found."""

    code, status = "unknown-request", 404

    def __init__(self, request_id: object) -> None:
        super().__init__(
            f"There is no feed request {request_id} of this viewer. A new one can be found after a second."
        )


class InputsUnavailable(ServiceError):  # noqa: N818
    """A request cannot be ranked again: what it was ranked from is not there any more."""

    code, status = "inputs-unavailable", 409

    def __init__(self, request_id: object, reason: str) -> None:
        super().__init__(f"Request {request_id} cannot be ranked again: its inputs are not kept ({reason}).")


class UnknownJob(ServiceError):  # noqa: N818
    """No job has this id."""

    code, status = "unknown-job", 404

    def __init__(self, job_id: object) -> None:
        super().__init__(f"There is no job {job_id}.")


class JobFileNotFound(ServiceError):  # noqa: N818
    """A job made nothing that can be fetched, or not yet, or no more."""

    code, status = "no-job-file", 404

    def __init__(self, job_id: object) -> None:
        super().__init__(f"Job {job_id} has no file: it is not done, makes none, or its file's days are over.")


class UnknownPolicy(ServiceError):  # noqa: N818
    """No ranking policy is served in this variant."""

    code, status = "unknown-policy", 404

    def __init__(self, variant: str) -> None:
        super().__init__(f"No policy is served in the variant {variant!r}: it is ranked by the defaults.")


class VersionConflict(ServiceError):  # noqa: N818
    """Somebody else changed it since it was read."""

    code, status = "version-conflict", 412

    def __init__(self, name: str, version: int) -> None:
        super().__init__(f"{name} was changed meanwhile: it has version {version} now. Read it again.")


class InactiveMember(ServiceError):  # noqa: N818
    """A deactivated member gets no feed."""

    code, status = "inactive-member", 409

    def __init__(self, member_id: str) -> None:
        super().__init__(f"Member {member_id!r} is deactivated and gets no feed. Activate it first.")


class InvalidRequest(ServiceError):  # noqa: N818
    """A value cannot be used; *pointer* is a JSON pointer to it."""

    code, status = "invalid-request", 400

    def __init__(self, message: str, pointer: str = "") -> None:
        super().__init__(message)
        self.pointer = pointer


class FactsUnavailable(ServiceError):  # noqa: N818
    """The facts of the viewer cannot be read: we can't be sure who is blocked, so nothing is shown."""

    code, status = "facts-unavailable", 503
