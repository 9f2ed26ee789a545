"""The inputs of an API request: read once, in one way."""

import math

import pytest
from django.contrib.auth.models import User
from django.test import RequestFactory
from django.utils.functional import SimpleLazyObject
from rest_framework import serializers
from rest_framework.exceptions import ParseError, UnsupportedMediaType, ValidationError

from access.authentication import StaffSession
from access.inputs import MAX_CACHED_QUERY_LENGTH, RAW_INPUTS, Inputs, Operation, Request, parse_body
from access.typed_fields import StrictSerializer, TypedField
from access.views import APIView, takes
from recommendations.api.serializers import EventIn
from values.problems import InvalidValueError
from values.types import Id, MeasuredValue, read


class PageQuery(serializers.Serializer):
    viewer_id = serializers.CharField()
    tag = serializers.ListField(child=serializers.CharField(), default=list)


class NameBody(serializers.Serializer):
    name = serializers.CharField()


class PageView(APIView):
    @takes(query=PageQuery(), body=NameBody(), member_ids=lambda inputs: [inputs.query["viewer_id"]])
    def get(self, request):
        pass

    def post(self, request):
        pass


def build_request(method="GET", url="/", body=b"", content_type="application/json", **path):
    django_request = RequestFactory().generic(method, url, body, content_type=content_type)
    view = PageView()
    view.setup(django_request, **path)
    return view.initialize_request(django_request, **path)


def read_query(url):
    return build_request(url=url).inputs.query


def read_body(body=b""):
    return build_request(body=body).inputs.body


@pytest.mark.parametrize("padding", [0, MAX_CACHED_QUERY_LENGTH], ids=["cached", "not cached"])
def test_a_query_has_each_parameter_once_unless_it_is_a_list(padding):
    tag = "x" * (padding or 1)
    rest = f"&tag=a&tag={tag}"
    assert build_request(url=f"/?viewer_id=ann{rest}").inputs.query == {"viewer_id": "ann", "tag": ["a", tag]}
    for again in ("viewer_id", "%76iewer_id"):
        with pytest.raises(ValidationError) as error:
            read_query(f"/?viewer_id=ann&{again}=bob{rest}")
        assert error.value.detail["viewer_id"].code == "repeated"


def test_an_unknown_parameter_is_refused_with_the_nearest_known_one():
    with pytest.raises(ValidationError) as error:
        read_query("/?viewer_id=ann&viewerid=1")
    assert "Did you mean viewer_id?" in error.value.detail["viewerid"]


@pytest.mark.parametrize("query", ["viewer_id=%ff", "viewer_id=%C3"])
def test_a_query_that_is_not_utf_8_is_refused(query):
    with pytest.raises(ParseError, match="query string"):
        read_query(f"/?{query}")


def test_a_body_is_validated_once():
    inputs = build_request("GET", body='{"name": " ü "}'.encode()).inputs
    assert inputs.body == {"name": "ü"}
    assert inputs.body is inputs.body


def test_no_body_counts_as_an_empty_object():
    with pytest.raises(ValidationError):
        read_body()


@pytest.mark.parametrize("body", [b"{", b'"\xff"', b"\xef\xbb\xbf{}", b"[NaN]", b'{"name": 1, "name": 2}'])
def test_a_body_that_is_not_unambiguous_json_is_refused(body):
    with pytest.raises(ParseError, match="JSON parse error"):
        read_body(body)


@pytest.mark.parametrize("digits", [399, 401, 5_000])
def test_a_number_of_many_digits_is_left_to_the_type_of_its_field(digits):
    """Python refuses the text of a body for such a number, and with it the good items of the body."""
    value = parse_body(b'{"value": -' + b"9" * digits + b"}")["value"]
    assert value == (-int("9" * digits) if digits == 399 else -math.inf)
    with pytest.raises(InvalidValueError):
        read(MeasuredValue, value)


def test_an_operation_that_declares_nothing_has_no_inputs():
    inputs = build_request("POST", "/?viewer_id=ann&viewer_id=bob", b'{"name": "x"}').inputs
    assert (inputs.query, inputs.body, inputs.member_ids) == ({}, None, None)


def test_a_head_request_has_the_inputs_of_get():
    assert build_request("HEAD", "/?viewer_id=ann").inputs.query["viewer_id"] == "ann"


def test_the_members_of_a_request_are_those_of_the_path_and_those_of_the_operation():
    assert build_request("GET", "/?viewer_id=bob").inputs.member_ids == ["bob"]
    assert build_request("GET", "/?viewer_id=bob", member_id="ann").inputs.member_ids == ["ann", "bob"]
    assert build_request("POST", member_id="ann").inputs.member_ids == ["ann"]


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/jsonp", "application/x-www-form-urlencoded"])
def test_a_body_must_be_json(content_type):
    with pytest.raises(UnsupportedMediaType):
        build_request(body=b"{}", content_type=content_type).inputs.require_known_content_type()
    build_request(body=b"", content_type=content_type).inputs.require_known_content_type()
    build_request(body=b"{}", content_type="Application/JSON; charset=utf-8").inputs.require_known_content_type()


@pytest.mark.parametrize("name", RAW_INPUTS)
def test_a_view_cannot_read_raw_inputs(name):
    with pytest.raises(AssertionError, match="Declare"):
        getattr(build_request(url="/?viewer_id=ann"), name)
    request = build_request(url="/?viewer_id=ann")
    assert not request.query_params and not request.POST


def test_inputs_without_an_operation_are_empty():
    assert Inputs(RequestFactory().get("/?a=1"), {}, Operation()).query == {}


def test_a_parameter_of_an_operation_without_parameters_is_refused():
    build_request("GET", "/?viewer_id=ann").inputs.refuse_undeclared_query()
    build_request("POST", "/").inputs.refuse_undeclared_query()
    with pytest.raises(ValidationError) as error:
        build_request("POST", "/?dry_run=1").inputs.refuse_undeclared_query()
    assert error.value.detail["dry_run"] == "This operation has no query parameters."


EVENT = {"event_id": "e", "member_id": 7, "post_id": "p", "kind": "Like"}


@pytest.mark.parametrize(
    "item",
    [
        EVENT,
        EVENT | {"target": "", "value": None, "occurred_at": None, "request_id": None},
        EVENT | {"value": 2, "occurred_at": "2026-01-31T12:00:00Z", "request_id": "0" * 32},
        EVENT | {"kind": None, "undoes_event_id": "earlier"},
        EVENT | {"member_id": None},
        EVENT | {"member_id": " spaces "},
        EVENT | {"kind": "unknown", "value": "many"},
        EVENT | {"evnet_id": "x"},
        {"event_id": "e"},
        {},
        [],
        None,
        "text",
    ],
)
def test_an_object_is_read_at_once_as_drf_reads_it_field_by_field(item, monkeypatch):
    """The same values, and the same problems: an invalid object is left to DRF."""

    def read():
        try:
            return EventIn().run_validation(item)
        except ValidationError as error:
            return error.get_full_details()

    at_once = read()
    monkeypatch.setattr(StrictSerializer, "_plain_fields", {})
    assert at_once == read()


@pytest.mark.parametrize(
    "extra",
    [
        {"items": serializers.ListField()},
        {"name": TypedField(Id, source="other")},
        {"name": TypedField(Id, validators=[lambda value: None])},
        {"name": TypedField(Id), "validate_name": lambda self, value: value},
    ],
)
def test_a_serializer_with_more_than_types_is_left_to_drf(extra):
    serializer = type("Other", (StrictSerializer,), {"id": TypedField(Id), **extra})
    assert serializer()._plain_fields == {}
    assert type("Plain", (StrictSerializer,), {"id": TypedField(Id)})()._plain_fields
    assert type("Plain", (StrictSerializer,), {"id": TypedField(Id)})(partial=True)._plain_fields == {}


def test_without_the_cookie_of_a_session_no_user_is_looked_up(settings):
    def look_up():
        looked_up.append(1)
        return User(username="ann")

    looked_up = []
    django_request = RequestFactory().get("/")
    django_request.user = SimpleLazyObject(look_up)
    assert StaffSession().authenticate(Request(django_request)) is None and not looked_up
    django_request.COOKIES[settings.SESSION_COOKIE_NAME] = "session"
    user, _ = StaffSession().authenticate(Request(django_request))
    assert user.username == "ann"
