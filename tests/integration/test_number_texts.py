"""Pages of staff write numbers as their language does: 12,345.6 in English, 12.345,6 in German. Ids are no numbers."""

import ast
import re
from datetime import timedelta
from html import unescape
from pathlib import Path
from uuid import UUID

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.core.paginator import Paginator
from django.db import models
from django.urls import reverse
from django.utils.translation import override

from flags.models.guarded import allow_guarded_writes
from monitoring.number_texts import decimals, grouped, percent, significant, with_count
from recommendations.admin.activity import HOUR_FIGURES
from recommendations.admin.formatting import html_table
from recommendations.admin.trained_models import format_metric
from recommendations.models import FeedHour, Interaction, PrivacySettings
from tests.factories import NOW

ID, COUNT, SMALL_COUNT, MEASURE = 7_654_321, 1_234_567, 23_456, 54_321.5
IDENTIFIERS = {
    *("ChangeLogEntry.row_id", "ChangeLogEntry.position", "ChangeLogMark.position", "ChangeLogTruncation.position"),
    *("SeenReport.post_id", "JobFailure.item_id", "ErasureReceipt.member_number", "ErasureReceipt.active_model_id"),
    *("FeedRequest.trained_model_id", "TrainedModel.seed"),
}
"""Columns of numbers that identify something, beside primary keys and references."""
CONSTRAINED = {
    "CoLikes.target_ids": bytes(8 * SMALL_COUNT),
    "HistoryChange.after": bytes(8 * SMALL_COUNT),
    "ServedPage.post_ids": bytes(8 * SMALL_COUNT),
    "ReactionHistory.reactions": bytes(8 * SMALL_COUNT),
    "ReactionHistory.reacted_at": bytes(8 * SMALL_COUNT),
    "AuthorCrowd.share": 0.25,
    "ChangeLogTruncation.id": 1,
    "CrowdNewcomer.share": 0.25,
    "Evaluation.report": {"systems": []},
    "Flag.rollout_percentage": 12.5,
    "Holdout.percentage": 12.5,
    "Member.birth_year": 1987,
    "PendingChange.patch": {},
    "PostEmbedding.dimension": 4096,
}
"""Values that a constraint or a page asks for, and arrays with many numbers."""
APPS = ("recommendations", "flags", "access", "monitoring")
NAMED_BY_DATA = {
    *("AlertRule", "ApiKey", "EmbeddingModel", "Evaluation", "ExclusionGroup", "Experiment", "Flag", "Job"),
    *("MaintenanceTask", "Member", "Metric", "Post", "PrivacySettings", "RankingPolicy", "RolloutPlan", "Segment"),
    "TrainedModel",
}
"""Their texts are names and numbers."""
NAMED = {PrivacySettings}
"""Their texts are the ids of members."""
MAIN = re.compile(r"<main.*</main>", re.DOTALL)
NO_TEXT = re.compile(r"<(script|style|textarea|template)\b.*?</\1>|<[^>]*>", re.DOTALL)
ATTRIBUTE = re.compile(r'\b(?:href|value|min|max|name|id|action|x-[\w:.-]+)="([^"]*)"')


def sample_value(model, field, other):
    """Return a value of a column: a large number, or a row, a time, or a text. One that identifies is `ID`."""
    name = f"{model.__name__}.{field.name}"
    if field.is_relation:
        return None if field.related_model is model else sample_row(field.related_model, field.name == "target")
    if name in CONSTRAINED:
        return CONSTRAINED[name]
    if isinstance(field, models.UUIDField):
        return UUID("abcdefab-cdef-abcd-efab-cdefabcdefab")
    if field.choices:
        return field.choices[0][0]
    if isinstance(field, models.IntegerField):
        small = isinstance(field, models.SmallIntegerField | models.PositiveSmallIntegerField)
        identifies = field.primary_key or name in IDENTIFIERS
        return ID + other if identifies else SMALL_COUNT if small else COUNT
    if isinstance(field, models.FloatField):
        return MEASURE
    if isinstance(field, models.DateTimeField):
        return NOW + timedelta(days=field.name.startswith("end"))
    if isinstance(field, models.DateField):
        return NOW.date()
    if isinstance(field, models.CharField):
        return field.get_default() or ("other" if other else "text")
    if isinstance(field, models.TextField):
        return "secret"
    value = field.get_default()
    return [] if isinstance(field, models.JSONField) and value is None else value


def sample_row(model, other=False):
    """Create a row of the model whose numbers are large, unless there is one, with the rows that it refers to."""
    values = {field.name: sample_value(model, field, other) for field in model._meta.concrete_fields}
    key = values[model._meta.pk.name]
    row = model._base_manager.filter(pk=key).first()
    if row is None:
        with allow_guarded_writes():
            row = model._base_manager.create(**values)
    return row


def stored_ids(model):
    """Return the ids in all rows of the model. Triggers fill the change log, and its ids go on from earlier tests."""
    names = [field.name for field in model._meta.concrete_fields if f"{model.__name__}.{field.name}" in IDENTIFIERS]
    return {value for row in model._base_manager.values_list("pk", *names) for value in row}


def list_faults(page, ids=frozenset()):
    """Return the numbers of a German page without separators but *ids*, and the ids and attributes with them."""
    main = MAIN.search(page)[0]
    text = unescape(NO_TEXT.sub("|", main))
    faults = [number for number in re.findall(r"\d{5,}", text) if int(number) not in {ID, ID + 1, *ids}]
    grouped_ids = {f"{number:,}".replace(",", ".") for number in (ID, ID + 1)}
    faults += [number for number in grouped_ids if number in main]
    large = {f"{number:,}".replace(",", ".") for number in (COUNT, SMALL_COUNT, int(MEASURE))}
    faults += [value for value in ATTRIBUTE.findall(main) if any(number in value for number in large)]
    return faults


@pytest.mark.django_db
@pytest.mark.parametrize("may_change", [False, True])
def test_numbers_of_all_lists_and_rows_have_separators_and_ids_have_none(client, may_change, monkeypatch):
    monkeypatch.setattr(Paginator, "count", SMALL_COUNT)
    user = User.objects.create(pk=ID, username="text", is_staff=True, is_superuser=may_change)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(user)
    faults, has_separators = {}, set()
    for model in sorted(admin.site._registry, key=lambda model: model._meta.label):
        row = sample_row(model)
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        lists = [reverse(f"{name}_changelist")] if may_change else []
        for url in (*lists, reverse(f"{name}_change", args=[row.pk])):
            response = client.get(url, headers={"Accept-Language": "de"})
            assert response.status_code == 200, url
            page = response.content.decode()
            if found := list_faults(page, stored_ids(model)):
                faults[url] = found
            if "1.234.567" in page:
                has_separators.add(model._meta.label)
    assert faults == {}
    assert len(has_separators) > 15


@pytest.mark.django_db
def test_the_text_of_a_row_says_what_it_is_costs_no_query_and_holds_no_text_of_a_member(django_assert_num_queries):
    """The box that selects a row has the row's text, so that a text that reads a row would be read for each row."""
    rows = {model: sample_row(model) for model in admin.site._registry if model._meta.app_label in APPS}
    alike = {}
    with override("de"):
        for model, row in rows.items():
            fresh = model._base_manager.get(pk=row.pk)
            with django_assert_num_queries(0):
                text = str(fresh)
            assert re.search("[a-zäöü]{2}", text.replace(str(row.pk), "")) or model in NAMED, (model, text)
            assert "secret" not in text, model
            with override("en"):
                if text == str(fresh):
                    alike[model.__name__] = text
    assert alike.keys() == NAMED_BY_DATA, alike


@pytest.mark.django_db
def test_the_text_of_a_row_names_the_rows_that_are_loaded():
    interaction = sample_row(Interaction)
    loaded = Interaction.objects.select_related("post", "member").get(pk=interaction.pk)
    kind = loaded.get_kind_display()
    assert str(loaded) == f"Interaction {ID}: {kind} of post text by text"
    assert str(Interaction.objects.get(pk=interaction.pk)) == f"Interaction {ID}: {kind} of post #{ID} by #{ID}"


def test_a_number_without_separators_is_found_and_so_is_an_id_with_them():
    assert list_faults("<main><td>1.234.567</td><td>7654321</td></main>") == []
    assert list_faults("<main><td>1234567</td></main>") == ["1234567"]
    assert list_faults("<main><td>7.654.321</td></main>") == ["7.654.321"]
    assert list_faults('<main><input value="1.234.567"></main>') == ["1.234.567"]


@pytest.mark.parametrize(
    ("language", "texts"),
    [
        ("en", ["1,234,567", "1,235 posts", "0.50", "-1,234.57", "12.5", "12,346", "0.00001", "4 %", "0.5 %"]),
        ("de", ["1.234.567", "1.235 posts", "0,50", "-1.234,57", "12,5", "12.346", "0,00001", "4 %", "0,5 %"]),
    ],
)
def test_texts_have_numbers_of_the_language(language, texts):
    with override(language):
        assert texts == [
            *(grouped(COUNT), with_count("{n} posts", 1235), decimals(0.5, 2), decimals(-1234.567, 2)),
            *(significant(12.5), significant(12_345.6), significant(0.00001), percent(0.04), percent(0.005)),
        ]


def test_an_unknown_figure_is_a_dash():
    assert [grouped(None), decimals(None, 2), significant(None), percent(None), with_count("{n} posts", None)] == [
        *("–", "–", "–", "–", "– posts"),
    ]
    hour = FeedHour(slate_count=0, p50_ms=0.0, p95_ms=0.0)
    shown = [column(hour) for column in HOUR_FIGURES if column.__name__ in ("p50_ms_shown", "p95_ms_shown")]
    assert shown == [None, None], "an hour in which no slate was built has no time to build one"
    hour.slate_count = 2
    assert str(HOUR_FIGURES[1](hour)) == "0.0"


def find_filled_figures(source):
    """Return the expressions in a module that give an unknown figure the value 0 for a text."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    writers = {"decimals", "float", "grouped", "percent", "round", "shown", "significant", "with_count"}
    texts = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id in writers]
    choices = {node for call in texts for node in ast.walk(call) if isinstance(node, ast.BoolOp)}
    return sorted(ast.unparse(node) for node in choices if is_zero(node.values[-1]))


def is_zero(node):
    return isinstance(node, ast.Constant) and node.value == 0


def test_no_page_shows_an_unknown_figure_as_0():
    root = Path(__file__).parents[2]
    modules = [path for app in (*APPS, "recsys_project") for path in (root / app).rglob("*.py")]
    found = {path.name: faults for path in modules if (faults := find_filled_figures(path.read_text()))}
    assert found == {}
    assert find_filled_figures("f(percent(x['a'] or 0.0)); round(abs(y or 0)); z or 0") == ["x['a'] or 0.0", "y or 0"]


def test_tables_have_numbers_of_the_language():
    with override("de"):
        table = html_table(["a"], [["<b>"], [COUNT], [12.5], ["7654321"]])
        cells = re.findall("<td[^>]*>(.*?)</td>", table)
        assert cells == ["&lt;b&gt;", "1.234.567", "12,5", "7654321"]
        assert format_metric([12_345, 0.5, True, None]) == "12.345; 0,5000; True; None"
