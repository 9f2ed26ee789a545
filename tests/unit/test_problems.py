"""Conversion of errors to problems."""

import pytest
from django.db import OperationalError
from drf_standardized_errors.types import Error

from access.problems import problem_body
from recommendations.api.exception_handler import convert_to_problem
from recommendations.api.problems import build_error_items
from recommendations.services.errors import FactsUnavailable, InvalidRequest, UnknownMember


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (UnknownMember("ann"), 404, "unknown-member"),
        (InvalidRequest("no", "/params/member_ids"), 400, "invalid-request"),
        (FactsUnavailable("later"), 503, "facts-unavailable"),
        (OperationalError("down"), 503, "database-unavailable"),
    ],
)
def test_an_error_of_a_service_keeps_its_status_and_code(error, status, code):
    problem = convert_to_problem(error)
    assert (problem.status_code, problem.detail.code) == (status, code)


def test_a_503_has_a_retry_time():
    assert convert_to_problem(FactsUnavailable("later")).wait > 0
    assert not hasattr(convert_to_problem(UnknownMember("ann")), "wait")


def test_an_unknown_error_is_not_converted():
    error = KeyError("x")
    assert convert_to_problem(error) is error


def test_an_error_has_a_json_pointer_or_a_parameter_name():
    errors = [Error("invalid", "no", "events/3/kind"), Error("invalid", "no", "events/3/non_field_errors")]
    assert [e["pointer"] for e in build_error_items(errors, in_body=True)] == ["/events/3/kind", "/events/3"]
    assert build_error_items([Error("invalid", "no", "limit")], in_body=False)[0]["parameter"] == "limit"
    assert build_error_items([Error("invalid", "no", None)], in_body=True)[0]["pointer"] == ""


def test_a_problem_has_all_its_members():
    problem = problem_body(status=400, code="parse_error", detail="no")
    assert problem == {
        "type": "urn:recsys:problem:parse-error",
        "title": "Parse error",
        "status": 400,
        "detail": "no",
        "code": "parse-error",
    }
