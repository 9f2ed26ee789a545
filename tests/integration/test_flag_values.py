"""Values of flags and segments are the same after each editor and format: forms, JSON, YAML, commands, history."""

import json
from io import StringIO

import pytest
import yaml
from django.core.management import call_command
from django.urls import reverse

from flags import snapshot
from flags.differences import find_differences
from flags.documents import flag_document, segment_document
from flags.models import Flag, FlagChange, Segment
from flags.services import transfer
from flags.services.change import apply_change
from flags.services.errors import InvalidChangeError
from flags.services.history import restore_change
from flags.services.record import Actor, to_json
from monitoring.clock import now
from tests import factories
from tests.inputs.awkward_values import LABELS, REFUSED

pytestmark = pytest.mark.django_db
TEST = Actor(system="test")
TEXTS = [
    *(value for value, expected in LABELS if expected is not REFUSED),
    *("1.10", "1.0", "276", "010", "0x1F", "1_000", "1:30", "1e+20", ".inf", "~", "=", "<<", "- a", "#a", "a #b", "*a"),
    *("no", "True", "yes", "null", "", " ", " x ", "a\nb", "a\r\nb", "\n", "a\tb", "a\x1bb", "a\x85b", "a\u2028b"),
    *('"a"', '"', "'", "a\\", "\ufeffa", "2026-01-31", "2026-05-31T12:00:00Z", "12:30:45", "<b>&amp;</b>", "{{ a }}"),
]
NUMBERS = [0, 1, 1.0, 100.0, 1.5, 0.1 + 0.2, 1e15, 1e-7, 5e-324, 2**53 + 1, 2**63 - 1, -(2**63), True, False]
JSON_VALUES = [{"a": {"1.10": [*TEXTS, *NUMBERS, None]}}, [], {}, [[{}]]]
VALUES_PER_FLAG = 50
WITH_MICROSECONDS = "2030-01-31T12:00:00.123456Z"


@pytest.fixture(autouse=True)
def fresh_snapshot():
    snapshot.flag_snapshot.invalidate()
    yield
    snapshot.flag_snapshot.invalidate()


def create(subject, key, **document):
    apply_change(subject=subject, key=key, patch=document, actor=TEST, why="x", now=now(), create=True)


@pytest.fixture
def documents():
    """Create segments and flags with every value. Return the current documents by subject and key, as JSON."""
    create(
        "segment",
        "everything",
        conditions=[
            {"attribute": "app", "operator": "in", "values": [*TEXTS, *NUMBERS]},
            {"attribute": "region", "operator": "in", "values": TEXTS},
            {"attribute": "is_active", "operator": "in", "values": [True, False]},
            {"attribute": "app", "operator": "contains", "values": [text for text in TEXTS if text]},
            *({"attribute": "age", "operator": "at_least", "values": [value]} for value in NUMBERS[:-2]),
            {"attribute": "app", "operator": "version_below", "values": ["1.10"]},
        ],
        match="any",
    )
    for kind, values in (("string", TEXTS), ("number", NUMBERS[:-2]), ("json", JSON_VALUES)):
        for start in range(0, len(values), VALUES_PER_FLAG):
            some = values[start : start + VALUES_PER_FLAG]
            create(
                "flag",
                f"f-{kind}-{start}",
                kind=kind,
                **dict(zip(("on_value", "default_value", "off_value"), [*some, *some, *some], strict=False)),
                variants=[{"name": f"v{number}", "value": value} for number, value in enumerate(some)],
                expires_at=WITH_MICROSECONDS,
            )
    return current_documents()


def current_documents():
    """Return the documents by subject and key, as JSON."""
    flags = {("flag", row.key): to_json(flag_document(row)) for row in Flag.objects.filter(key__startswith="f-")}
    return flags | {("segment", row.key): to_json(segment_document(row)) for row in Segment.objects.all()}


def submitted(client, url):
    """Return what a browser submits for the form of the page: line breaks are CR LF, and only textareas have them."""
    context = client.get(url).context
    formsets = [inline.formset for inline in context["inline_admin_formsets"]]
    forms = [context["adminform"].form, *(form for formset in formsets for form in (formset.management_form, *formset))]
    data = {}
    for field in (field for form in forms for field in form):
        value = field.value()
        if isinstance(value, str) and "\n" in value:
            assert "<textarea" in str(field), field.html_name
            value = value.replace("\n", "\r\n")
        if value is not None and value is not False:
            data[field.html_name] = value
    if moment := data.pop("expires_at", None):
        data |= {"expires_at_0": f"{moment:%Y-%m-%d}", "expires_at_1": f"{moment:%H:%M:%S}"}
    return data


def test_forms_that_are_submitted_as_they_are_displayed_change_nothing(client, documents):
    client.force_login(factories.staff("Releaser"))
    for row in [*Segment.objects.filter(key="everything"), *Flag.objects.filter(key__startswith="f-")]:
        url = reverse(f"admin:flags_{row._meta.model_name}_change", args=[row.pk])
        answer = client.post(url, submitted(client, url) | {"why": "nothing"})
        assert answer.status_code == 302, (row.key, answer.context["errors"])
    assert current_documents() == documents
    assert not FlagChange.objects.filter(why="nothing").exists()


def test_yaml_states_the_same_values_to_this_and_to_other_programs(documents):
    text = transfer.export_yaml()
    outcomes = transfer.import_yaml(text=text, actor=TEST, why="x", now=now())
    assert {row.outcome for row in outcomes} == {"unchanged"}
    read = {row["key"]: row for row in yaml.safe_load(text)["flags"]}
    for key, document in ((key, json.loads(text)) for (_, key), text in documents.items() if key in read):
        if document["kind"] == "string":  # YAML 1.1 has other numbers
            assert read[key]["variants"] == document["variants"]
    copied = transfer.import_yaml(text=text.replace("key: ", "key: copy-"), actor=TEST, why="x", now=now())
    assert {row.outcome for row in copied} == {"created"}
    copies = [*Flag.objects.filter(key__startswith="copy-f-"), *Segment.objects.filter(key__startswith="copy-e")]
    for row in copies:
        subject, build = ("flag", flag_document) if isinstance(row, Flag) else ("segment", segment_document)
        copy = to_json(build(row) | {"key": row.key.removeprefix("copy-")})
        assert copy == documents[subject, row.key.removeprefix("copy-")]


def test_rest_commands_and_the_history_state_the_same_values(client, documents):
    client.force_login(factories.staff("Releaser"))
    for (subject, key), document in documents.items():
        read = client.get(f"/api/v1/{subject}s/{key}").json()
        stated = {name: read[name] for name in json.loads(document)}
        assert to_json(stated) == document
        body = json.dumps(stated | {"why": "nothing"})
        headers = {"If-Match": "*"}
        sent = client.patch(f"/api/v1/{subject}s/{key}", body, content_type="application/json", headers=headers)
        assert sent.status_code == 200, sent.content
    for row in Flag.objects.filter(key__startswith="f-"):
        output = StringIO()
        call_command("flag", "show", row.key, "--json", stdout=output)
        assert to_json(json.loads(output.getvalue())) == documents["flag", row.key]
    for change in FlagChange.objects.filter(action="created", system="test"):
        assert restore_change(change_id=change.pk, actor=TEST, why="nothing", now=now()) is None
    assert current_documents() == documents
    assert not FlagChange.objects.filter(why="nothing").exists()


def test_a_client_gets_the_values_and_is_in_the_segment_of_its_own(client, documents):
    client.force_login(factories.staff("Releaser"))
    create("segment", "texts", conditions=[{"attribute": "app", "operator": "in", "values": TEXTS}])
    create("flag", "of_texts", is_enabled=True, rules=[{"segment": "texts"}])
    snapshot.flag_snapshot.invalidate()
    for text in TEXTS:
        body = json.dumps({"context": {"targetingKey": "someone", "app": text}})
        sent = client.post("/ofrep/v1/evaluate/flags/of_texts", body, content_type="application/json").json()
        assert sent["value"] is True, ascii(text)
    sent = client.post("/ofrep/v1/evaluate/flags", body, content_type="application/json").json()
    values = {row["key"]: row["value"] for row in sent["flags"]}
    for (subject, key), document in documents.items():
        if subject == "flag":
            assert json.dumps(values[key]) == json.dumps(json.loads(document)["off_value"])


@pytest.mark.parametrize(
    ("written", "value"),
    [('"1.10"', "1.10"), ("1.5", 1.5), ("true", True), ("2026-01-31", "2026-01-31"), ("DE", "DE")],
)
def test_a_command_reads_values_as_yaml(written, value):
    kind = {str: "string", bool: "bool", float: "number"}[type(value)]
    defaults = dict.fromkeys(("default_value", "off_value"), value)
    create("flag", "f", kind=kind, on_value=value, **defaults)
    output = StringIO()
    call_command("flag", "set", "f", f"on_value={written}", "--why", "x", stdout=output)
    assert "Nothing changed" in output.getvalue()
    call_command("flag", "explain", "f", "someone", f"app={written}", stdout=output)


@pytest.mark.parametrize(
    ("before", "after"), [([1], [1.0]), ([1], [True]), (["276"], [276]), ([0], [0.0]), (["true"], [True])]
)
def test_a_change_of_the_type_alone_is_a_change(before, after):
    condition = {"attribute": "app", "operator": "in", "values": before}
    create("segment", "s", conditions=[condition])
    patch = {"conditions": [condition | {"values": after}]}
    change = apply_change(subject="segment", key="s", patch=patch, actor=TEST, why="x", now=now())
    assert json.dumps(Segment.objects.get(key="s").conditions.get().values) == json.dumps(after)
    if isinstance(before[0], str):
        assert [(row.before, row.after) for row in find_differences(change.before, change.after)] == [
            (f'"{before[0]}"', json.dumps(after[0]))
        ]


@pytest.mark.parametrize("value", [1e16, -1e18, -0.0, 1e15, 5e-324, {"a": [1e17, {"b": -0.0}]}])
def test_a_number_is_read_as_it_was_confirmed_from_both_databases(value):
    change = apply_change(
        key="f",
        patch={"kind": "json", **{name: [value] for name in ("on_value", "default_value", "off_value")}},
        actor=TEST,
        why="x",
        now=now(),
        create=True,
    )
    stored = Flag.objects.get(key="f").on_value
    assert json.dumps(stored) == json.dumps(change.after["on_value"]) and stored == [value]
    same = {"on_value": [value]}
    assert apply_change(key="f", patch=same, actor=TEST, why="x", now=now()) is None


@pytest.mark.parametrize("value", [1e20, -1e19, 2**63, 10**400, float("inf"), float("nan")])
@pytest.mark.parametrize("place", ["flag", "variant", "condition", "JSON"])
def test_a_number_that_a_client_cannot_read_is_refused(place, value):
    """It would make every list of flags unreadable: the response of each could not be written."""
    values = ("on_value", "default_value", "off_value")
    patches = {
        "flag": {"kind": "number"} | dict.fromkeys(values, value),
        "variant": {"kind": "number"} | dict.fromkeys(values, 1) | {"variants": [{"name": "a", "value": value}]},
        "condition": {"conditions": [{"attribute": "a", "operator": "above", "values": [value]}]},
        "JSON": {"kind": "json"} | {name: [{"a": value}] for name in values},
    }
    with pytest.raises(InvalidChangeError, match="beyond the whole numbers of 64 bits"):
        create("segment" if place == "condition" else "flag", "f", **patches[place])


@pytest.mark.parametrize("key", ["a\0", "\ud800", "a b", "", "é", "a" * 65, True, None, ["a"], {}])
@pytest.mark.parametrize("entry_point", ["flags", "segments", "experiments", "YAML"])
def test_a_key_that_is_no_name_is_refused(client, entry_point, key):
    client.force_login(factories.staff("Releaser"))
    if entry_point == "YAML":
        text = f"flags: [{{key: {json.dumps(key)}}}]"
        with pytest.raises(InvalidChangeError):
            transfer.import_yaml(text=text, actor=TEST, why="x", now=now())
        return
    body = json.dumps({"key": key, "why": "x"})
    sent = client.post(f"/api/v1/{entry_point}", body, content_type="application/json")
    assert sent.status_code == 400, sent.content


@pytest.mark.parametrize("config", [{"a": 10**400}, {"a": ["\0"]}, {"a\0": 1}, {"a": float("inf")}, {"\ud800": 1}])
def test_the_settings_of_a_variant_are_json_that_can_be_stored(config):
    factories.flag("f")
    with pytest.raises(InvalidChangeError, match="The value contains"):
        factories.experiment("f", variants=[{"key": "control", "value": True, "config": config}])


def test_attributes_to_assume_that_no_response_can_state_are_refused(client):
    client.force_login(factories.staff("Viewer"))
    factories.flag("f")
    for written, status in (("1", 200), ("1e400", 400), ("1" * 30, 400)):
        body = f'{{"unit_id": "someone", "attributes": {{"app": {written}}}}}'
        sent = client.post("/api/v1/flags/f/explain", body, content_type="application/json")
        assert sent.status_code == status, sent.content
