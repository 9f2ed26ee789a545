"""The GraphQL console in a real browser."""

import ast
import json
import re
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from monitoring.clock import now
from recommendations.models import Member
from recommendations.services import work
from recommendations.services.members.preferences import read_preferences

pytestmark = pytest.mark.django_db(transaction=True)
SCREENS = pytest.mark.parametrize(
    "page",
    [
        {"color_scheme": scheme, "viewport": {"width": width, "height": 900}}
        for scheme in ("light", "dark")
        for width in (390, 1280)
    ],
    indirect=True,
)


@pytest.fixture
def console(page):
    """The page, once its first example and the schema are there."""
    page.goto("/explore/graphql/")
    expect(page.locator("#query")).to_have_value(re.compile("discoveryFeed"))
    expect(page.locator("#tree section").first).to_be_attached()
    return page


def write(page, text, *, variables="{}"):
    """Replace the query, where the sign | is the cursor, and the variables."""
    offset = text.index("|") if "|" in text else len(text)
    query = page.locator("#query")
    query.fill(text.replace("|", ""))
    query.evaluate("(area, offset) => area.setSelectionRange(offset, offset)", offset)
    page.locator("#variables").fill(variables)
    query.focus()


def response(page):
    return json.loads(page.locator("#response").text_content())


def run(page):
    """Run the query by the keyboard and return the response."""
    with page.expect_response("**/graphql"):
        page.keyboard.press("Control+Enter")
    expect(page.locator("#status")).not_to_have_text("Running …")
    return response(page)


# Requests


def test_the_first_example_is_run_with_a_real_member(console, site):
    hosts = set()
    console.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    member_id = json.loads(console.locator("#variables").input_value())["memberId"]
    assert Member.objects.filter(external_id=member_id).exists()
    expect(console.locator("#response-empty")).to_be_visible()
    console.get_by_role("button", name="Run", exact=True).click()
    expect(console.locator("#response")).to_contain_text('"discoveryFeed"')
    expect(console.locator("#response-empty")).to_be_hidden()
    assert len(response(console)["data"]["discoveryFeed"]["edges"]) == 5
    assert console.locator("#response-status").inner_text().startswith("200")
    assert re.fullmatch(r"\d+ ms", console.locator("#response-time").inner_text())
    assert re.fullmatch(r"[0-9a-f-]{36}", console.locator("#response-request").inner_text())
    expect(console.locator("#status")).to_have_text("Done.")
    assert hosts == {urlsplit(site).netloc}, "no request leaves the host"


def test_each_example_gets_an_answer(console):
    work.submit_job(kind="batch_feeds", params={}, now=now())
    examples = console.locator("#examples-list li")
    assert examples.count() == 8
    for i in range(8):
        title = examples.nth(i).get_by_role("button").inner_text()
        examples.nth(i).get_by_role("button").click()
        words = "mutation" if "changes data" in examples.nth(i).inner_text() else "query"
        expect(console.locator("#query")).to_have_value(re.compile(f"^{words} ", re.MULTILINE))
        expect(console.locator("#variables")).not_to_have_value(re.compile('""'))
        console.locator("#query").focus()
        expect(console.locator("#mutation-hint")).to_be_visible(visible=words == "mutation")
        answer = run(console)
        assert "errors" not in answer and all(answer["data"].values()), (title, answer)
    member_id = json.loads(console.locator("#variables").input_value())["memberId"]
    assert read_preferences(member_id=member_id).interest_tags == ["bread"], "the last example changes data"


def test_a_mutation_is_named_as_such_before_it_runs(console):
    expect(console.locator("#run")).to_have_text("Run")
    console.get_by_role("button", name="Add an interest").click()
    expect(console.locator("#run")).to_have_text("Run mutation")
    expect(console.locator("#mutation-hint")).to_have_text("changes data")


def test_one_of_several_operations_is_chosen_and_kept_in_the_session(console):
    write(console, 'query One { __typename }\nquery Two { job(id: "no") { ...F } }\nfragment F on Job { id }\n')
    assert console.locator("#operation option").all_inner_texts() == ["One", "Two"]
    assert run(console) == {"data": {"__typename": "Query"}}
    console.get_by_label("Operation").select_option("Two")
    console.locator("#query").focus()
    assert run(console)["errors"][0]["path"] == ["job"]
    console.reload()
    expect(console.locator("#query")).to_have_value(re.compile("^query One"))
    expect(console.locator("#operation")).to_have_value("Two")
    write(console, "{ __typename }")
    expect(console.locator("#operations")).to_be_hidden()
    assert run(console) == {"data": {"__typename": "Query"}}


def test_errors_lead_to_their_place_in_the_query(console):
    write(console, "query {\n  job(id: 1) {\n    id wrong\n  }\n}\n")
    answer = run(console)
    assert answer["data"] is None
    error = console.locator("#errors li")
    expect(error).to_contain_text("Cannot query field 'wrong' on type 'Job'.")
    expect(error).to_contain_text("invalid-query")
    expect(console.locator("#response-status")).to_contain_text("400")
    expect(console.locator("#query-lines .problem-line")).to_have_text("    id wrong")
    error.get_by_role("button", name="line 3, column 8").click()
    assert console.evaluate("document.getElementById('query').selectionStart") == len(
        "query {\n  job(id: 1) {\n    id "
    )
    assert console.evaluate("document.activeElement.id") == "query"
    console.keyboard.type("x")
    expect(console.locator("#query-lines .problem-line")).to_have_count(0)
    write(console, "query {\n")
    run(console)
    expect(error).to_contain_text("Syntax Error")
    console.expected_failures += ["400"]


def test_a_refused_request_and_a_lost_server_are_explained(console):
    write(console, "{ __typename }", variables=json.dumps({"ids": [0] * 10_001}))
    run(console)
    expect(console.locator("#errors")).to_contain_text("/variables variables has a list")
    problem = {"title": "Too Many Requests", "code": "too-many-requests", "detail": "Wait 3 seconds."}
    answers = [(429, json.dumps(problem)), (502, "<html>"), (503, "{}")]
    console.route("**/graphql", lambda route: route.fulfill(status=answers[0][0], body=answers[0][1]))
    for words in ("Wait 3 seconds. too-many-requests", "The response is not JSON.", "The request failed."):
        console.locator("#query").focus()
        with console.expect_response("**/graphql"):
            console.keyboard.press("Control+Enter")
        expect(console.locator("#errors")).to_have_text(words)
        answers.pop(0)
    console.route("**/graphql", lambda route: route.abort())
    console.keyboard.press("Control+Enter")
    expect(console.locator("#status")).to_contain_text("cannot be reached")
    expect(console.locator("#run")).not_to_have_attribute("aria-disabled", "true")
    console.expected_failures += ["400", "429", "502", "503", "net::ERR_FAILED"]


@pytest.mark.parametrize(
    ("variables", "problem"), [("{", "This is not JSON"), ("[1]", "Write an object"), ("null", "Write an object")]
)
def test_wrong_variables_are_not_sent(console, variables, problem):
    sent = []
    console.on("request", lambda request: sent.append(request.url))
    write(console, "{ __typename }", variables=variables)
    expect(console.locator("#variables-problem")).to_contain_text(problem)
    expect(console.locator("#variables")).to_have_attribute("aria-invalid", "true")
    console.keyboard.press("Control+Enter")
    assert console.evaluate("document.activeElement.id") == "variables"
    console.get_by_role("button", name="Code").click()
    expect(console.locator("#code-dialog")).to_be_hidden()
    assert sent == []
    console.locator("#variables").fill(" ")
    expect(console.locator("#variables-problem")).to_be_empty()
    assert run(console) == {"data": {"__typename": "Query"}}


def test_the_operation_can_be_copied_as_code(console):
    write(console, 'query Q($tags: Boolean) {\n  job(id: "x") { id }\n}', variables='{"tags": true, "none": null}')
    console.get_by_role("button", name="Code").click()
    code = console.locator("#code")
    expect(code).to_contain_text("/graphql")
    expect(code).to_contain_text(r'{"query":"query Q($tags: Boolean) {\n')
    console.get_by_label("Language", exact=True).select_option("python")
    sent = re.search(r"json=(.*),\n\)", code.text_content(), re.DOTALL).group(1)
    assert ast.literal_eval(sent) == {
        "query": 'query Q($tags: Boolean) {\n  job(id: "x") { id }\n}',
        "variables": {"tags": True, "none": None},
    }
    console.get_by_label("Language", exact=True).select_option("typescript")
    body = re.search(r"JSON.stringify\((.*?)\),\n\}\);", code.text_content(), re.DOTALL).group(1)
    assert console.evaluate(f"({body})")["query"].startswith("query Q($tags: Boolean) {\n  job")
    expect(console.locator("#code-call")).to_be_hidden()
    console.keyboard.press("Escape")
    expect(console.locator("#code-dialog")).to_be_hidden()


# Completion


def suggestions(page):
    return page.locator("#completions li b").all_inner_texts()


SUGGESTED = [
    ("|", ["query", "mutation", "fragment"]),
    ("{ prefer| }", ["preferences"]),
    ("mutation { setRel| }", ["setRelationship"]),
    ("{ job(id: 1) { is| } }", ["isExpired", "isFinished", "finishedAt"]),
    ("{ a: discoveryFeed(memberId: 1) { edges { node { post { auth| } } } } }", ["authorId"]),
    ("{ discoveryFeed(memberId: 1) { edges { node { ... on Pick { sour|", ["sources"]),
    ("{ job(|) }", ["id"]),
    ("{ discoveryFeed(filters: { max|", ["maxAgeHours"]),
    ("mutation { recordInteractions(events: [{ undo|", ["undoesEventId"]),
    ("query($yes: Boolean, $no: ID) { feed(explain: |", ["true", "false", "$yes", "$no"]),
    ("query($yes: Boolean, $no: ID) { feed(explain: $|", ["yes", "no"]),
    ("query($f: FeedF|", ["FeedFilterInput"]),
    ("{ feed @inc|", ["include"]),
    ("{ feed @include(|", ["if"]),
    ("{ feed { ...| } } fragment Rest on Feed { engine }", ["on", "Rest"]),
    ("{ feed { ... on | } }", ["Feed"]),
    ("fragment Rest on Feed { engi|", ["engine"]),
    ("{ feed # a comment |", []),
    ('{ feed(name: "dis|', []),
    ("{ feed(first: 1|", []),
    ("{ unknown { |", []),
    ("{ feed } # {\n{ job(id: 1) { exp|", ["isExpired"]),
]
"""Texts with the cursor at |, and what is suggested there."""


def test_what_fits_at_the_cursor_is_suggested(console):
    for text, expected in SUGGESTED:
        write(console, text)
        console.keyboard.press("Control+Space")
        expect(console.locator("#completions"), text).to_be_visible(visible=bool(expected))
        assert not expected or suggestions(console) == expected, text


def test_a_name_is_completed_while_it_is_written_by_the_keyboard_alone(console):
    write(console, "{ | }")
    console.keyboard.type("fol")
    expect(console.locator("#completions [role=option]")).to_have_count(1)
    assert console.locator("#query").get_attribute("aria-activedescendant") == "completion-0"
    expect(console.locator("#completion-count")).to_have_text("1 suggestion")
    console.keyboard.press("Enter")
    expect(console.locator("#query")).to_have_value("{ followRequests }")
    expect(console.locator("#completions")).to_be_hidden()
    assert console.locator("#query").get_attribute("aria-activedescendant") is None
    console.keyboard.press("Control+z")  # the reader can undo what the page has written
    expect(console.locator("#query")).to_have_value("{ fol }")
    write(console, "{ feed(name: 1, memberId: 1) { | } }")
    console.keyboard.press("Control+Space")
    console.keyboard.press("ArrowUp")  # from the first to the last
    expect(console.locator("#completions [aria-selected=true] b")).to_have_text("__typename")
    console.keyboard.press("ArrowDown")
    expect(console.locator("#completions [aria-selected=true] b")).to_have_text("edges")
    console.keyboard.press("Escape")
    expect(console.locator("#completions")).to_be_hidden()
    console.keyboard.type("eng")
    console.keyboard.press("Backspace")
    assert suggestions(console)[0] == "engine"
    console.locator("#completions li", has_text="engine").click()
    expect(console.locator("#query")).to_have_value("{ feed(name: 1, memberId: 1) { engine } }")
    console.keyboard.press("ArrowLeft")
    console.keyboard.press("Control+Space")
    expect(console.locator("#completions")).to_be_visible()
    console.keyboard.press("Tab")  # Tab leaves the editor, with an open list too
    assert console.evaluate("document.activeElement.id") == "variables"
    expect(console.locator("#completions")).to_be_hidden()


def test_a_new_line_is_indented(console):
    write(console, "{|")
    console.keyboard.press("Enter")
    console.keyboard.type("job(id: 1) {")
    console.keyboard.press("Enter")
    console.keyboard.type("id")
    console.keyboard.press("Enter")
    expect(console.locator("#query")).to_have_value("{\n  job(id: 1) {\n    id\n    ")


# The schema


def test_the_schema_can_be_searched(console):
    search = console.get_by_label("Search the schema")
    expect(console.locator("#tree h3").first).to_have_text("Queries")
    expect(console.locator("#tree")).to_contain_text("changes data")
    search.fill("rate limit of nothing")
    expect(console.locator("#tree-count")).to_have_text("Nothing in the schema has this text.")
    expect(console.locator("#tree li:visible")).to_have_count(0)
    search.fill("addend")  # a word of a description
    expect(console.locator("#tree summary:visible")).to_have_text(["ScorePart"])
    search.fill("maxAgeHours")
    expect(console.locator("#tree-count")).to_have_text("1 result")
    expect(console.locator("#type-FeedFilterInput")).to_have_attribute("open", "")
    search.fill("")
    expect(console.locator("#type-FeedFilterInput")).not_to_have_attribute("open", "")


def test_a_type_is_opened_and_a_field_is_inserted_where_it_fits(console):
    write(console, "query Feed {\n  feed(name: 1, memberId: 2) {|\n  }\n}\n")
    tree = console.locator("#tree")
    tree.get_by_role("button", name="Open type Feed!", exact=True).first.click()
    expect(console.locator("#type-Feed")).to_have_attribute("open", "")
    assert console.evaluate("document.activeElement.textContent") == "Feed"
    console.locator("#type-Feed").get_by_role("button", name="Insert pageInfo").click()
    inserted = "    pageInfo {\n      hasNextPage\n      hasPreviousPage\n      startCursor\n      endCursor\n    }"
    query = f"query Feed {{\n  feed(name: 1, memberId: 2) {{\n{inserted}\n  }}\n}}\n"
    expect(console.locator("#query")).to_have_value(query)
    console.locator("#type-Feed").get_by_role("button", name="Insert engine").click()  # the cursor is behind the braces
    expect(console.locator("#query")).to_have_value(query.replace(inserted, f"{inserted}\n    engine"))
    tree.get_by_role("button", name="Insert cancelJob").click()
    expect(console.locator("#query")).to_have_value(
        re.compile(r"mutation CancelJob\(\$id: UUID!\) \{\n  cancelJob\(id: \$id\) \{")
    )
    expect(console.locator("#operation")).to_have_value("CancelJob")
    expect(console.locator("#run")).to_have_text("Run mutation")
    console.locator("#type-Feed").get_by_role("button", name="Insert engine").click()
    expect(console.locator("#status")).to_have_text(
        "Put the cursor between the braces of a Feed, then insert engine again."
    )
    write(console, "")
    tree.get_by_role("button", name="Insert similarPosts").click()
    expect(console.locator("#query")).to_have_value(
        re.compile(r"^query SimilarPosts\(\$postId: ID!, \$viewerId: ID!\) \{")
    )
    write(console, "{ | }")
    tree.get_by_role("button", name="Insert preferences").click()
    expect(console.locator("#query")).to_have_value(re.compile(r'preferences\(memberId: ""\) \{'))


def test_deprecated_fields_and_mutations_without_a_root_are_shown_as_such(page):
    leaf = {"kind": "SCALAR", "name": "String", "ofType": None}
    old = {
        "name": "old",
        "description": "",
        "isDeprecated": True,
        "deprecationReason": "Use new.",
        "args": [],
        "type": leaf,
    }
    values = [{"name": "RED", "description": None, "isDeprecated": False, "deprecationReason": None}]
    nothing = {"description": None, "fields": None, "inputFields": None, "enumValues": None}
    types = [
        nothing | {"kind": "OBJECT", "name": "Query", "fields": [old]},
        nothing | {"kind": "SCALAR", "name": "String"},
        nothing | {"kind": "ENUM", "name": "Color", "enumValues": values},
    ]
    schema = {"queryType": {"name": "Query"}, "mutationType": None, "directives": [], "types": types}
    page.route("**/graphql", lambda route: route.fulfill(json={"data": {"__schema": schema}}))
    page.goto("/explore/graphql/")
    expect(page.locator(".deprecated")).to_contain_text("Deprecated: Use new.")
    assert page.locator("#tree h3").all_inner_texts() == ["Queries", "Values", "Scalars"]


def test_a_schema_that_cannot_be_read_is_reported_and_loaded_again(page):
    page.route("**/graphql", lambda route: route.fulfill(status=403, json={"detail": "You may not read the schema."}))
    page.goto("/explore/graphql/")
    expect(page.locator("#tree-status")).to_contain_text("You may not read the schema.")
    page.unroute("**/graphql")
    page.get_by_role("button", name="Load again").click()
    expect(page.locator("#tree")).to_contain_text("discoveryFeed")
    expect(page.locator("#tree-status")).to_be_empty()
    page.expected_failures += ["403"]


# The page


def test_without_members_the_example_says_what_is_missing(page):
    page.route("**/api/v1/members?*", lambda route: route.fulfill(json={"members": []}))
    page.goto("/explore/graphql/")
    expect(page.locator("#status")).to_contain_text("there is no memberId")
    expect(page.locator("#variables")).to_have_value(re.compile('"memberId": ""'))


@SCREENS
def test_the_page_is_accessible_and_fits(page):
    page.goto("/explore/graphql/")
    expect(page.locator("#query")).to_have_value(re.compile("discoveryFeed"))
    expect(page.locator("#tree section").first).to_be_attached()
    write(page, "{ job(id: 1) { id wrong } } mutation M { feed }")
    run(page)
    for details in ("#examples", "#schema"):
        page.locator(details).evaluate("node => { node.open = true; }")
    page.locator("#type-Feed").evaluate("node => { node.open = true; }")
    page.locator("#query").press("Control+Space")
    assert Axe().run(page).response["violations"] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.expected_failures += ["400"]


def test_the_keyboard_reaches_everything_and_is_not_trapped(console):
    console.keyboard.press("Tab")
    expect(console.locator(".skip")).to_be_focused()
    console.keyboard.press("Enter")
    for focused in ("query", "variables", "run"):
        console.keyboard.press("Tab")
        expect(console.locator(f"#{focused}")).to_be_focused()
    with console.expect_response("**/graphql"):
        console.keyboard.press("Enter")
    expect(console.locator("#response")).to_be_visible()
    expect(console.locator("#run")).to_be_focused()
    for focused in ("#show-code", "#response", "#schema > summary", "#tree-search", "#tree .link >> nth=0"):
        console.keyboard.press("Tab")
        expect(console.locator(focused)).to_be_focused()
    console.keyboard.press("Shift+Tab")
    expect(console.locator("#tree-search")).to_be_focused()
