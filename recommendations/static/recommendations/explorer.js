// The explorer: select a member, read their feed, send interactions and see how the feed changes.

import * as api from "./api.js";
import { button, card, element, formatAge, partsBar } from "./cards.js";

const PAGE_SIZE = 20;
const MAX_REASON_LENGTH = 60;
const POLL_MS = 250;
const CHANGE_WAIT_MS = 2000;
const RECORD_WAIT_MS = 5000;
const FEEDS = ["discovery", "following", "trending", "non_personalized"];
const $ = (id) => document.getElementById(id);
const urlParameters = new URLSearchParams(location.search);
const state = {
  memberId: urlParameters.get("member_id"),
  feed: FEEDS.includes(urlParameters.get("feed")) ? urlParameters.get("feed") : FEEDS[0],
  searchText: urlParameters.get("text") ?? "", // empty: the page shows the feed
  cursors: [null], // of the pages up to the current one
  page: null,
  requestNumber: 0, // of the newest request; late responses to earlier requests are dropped
};

function showStatus(text, isError = false, ...nodes) {
  $("status").replaceChildren(text, ...nodes);
  $("status").classList.toggle("error", isError);
}

const feedOptions = (cursor) => ({
  memberId: state.memberId, feed: state.feed, cursor, explain: $("explain").checked, limit: PAGE_SIZE,
});

// Members

let memberSearchNumber = 0;
async function showMembers() {
  const number = ++memberSearchNumber;
  try {
    const { members } = await api.members($("member-search").value.trim());
    if (number !== memberSearchNumber) return;
    $("members").replaceChildren(...members.map(memberItem));
    if (!members.length) $("members").append(element("li", "empty", "No member has an id that starts with this text."));
    if (!state.memberId && members.length) selectMember(members[0].id);
  } catch (error) {
    if (number === memberSearchNumber) $("members").replaceChildren(element("li", "empty error", error.message));
  }
}

function memberItem(member) {
  const count = member.interaction_count;
  const interactions = `${count.toLocaleString("en")} interaction${count === 1 ? "" : "s"}`;
  const facts = [interactions, member.languages.join(" "), member.is_active ? "" : "inactive"].filter(Boolean);
  const node = element("button", "member", element("b", "", member.id), element("small", "", facts.join(" · ")));
  node.type = "button";
  node.dataset.member = member.id;
  node.setAttribute("aria-current", member.id === state.memberId);
  node.addEventListener("click", () => selectMember(member.id));
  return element("li", "", node);
}

function selectMember(memberId) {
  state.memberId = memberId;
  for (const node of document.querySelectorAll(".member"))
    node.setAttribute("aria-current", node.dataset.member === memberId);
  resetFeed();
}

// The feed

function resetFeed() {
  state.cursors = [null];
  for (const tab of $("feeds").children)
    tab.setAttribute("aria-pressed", !state.searchText && tab.dataset.feed === state.feed);
  if (state.memberId === null) return Promise.resolve();
  const parameters = { member_id: state.memberId, feed: state.feed };
  if (state.searchText) parameters.text = state.searchText;
  history.replaceState(null, "", `?${new URLSearchParams(parameters)}`);
  return loadPage();
}

async function loadPage() {
  const number = ++state.requestNumber;
  $("feed").setAttribute("aria-busy", "true");
  showStatus("Loading …");
  try {
    const page = await (state.searchText
      ? api.search(state.searchText, state.memberId)
      : api.feed(feedOptions(state.cursors.at(-1))));
    if (number !== state.requestNumber) return;
    showStatus("");
    showPage(page);
  } catch (error) {
    if (number === state.requestNumber) showError(error);
  } finally {
    if (number === state.requestNumber) $("feed").setAttribute("aria-busy", "false");
  }
}

function showPage(page, newIds = new Set()) {
  state.page = page;
  const firstRank = (state.cursors.length - 1) * PAGE_SIZE + 1;
  const actions = state.searchText ? { similar } : { like, hide, showLess, similar };
  const cards = page.picks.map((pick, i) => card(pick, firstRank + i, actions));
  for (const node of cards) node.classList.toggle("new", newIds.has(node.dataset.post));
  $("feed").replaceChildren(...cards);
  if (!cards.length) $("feed").append(element("p", "empty", emptyText()));
  showBadges(page);
  $("previous").disabled = state.cursors.length < 2;
  $("next").disabled = !page.next_cursor;
  $("page").textContent = `Page ${state.cursors.length}`;
}

function emptyText() {
  if (state.searchText) return "No post that this member may see matches the text.";
  if (state.feed === "following") return "No posts: this member follows no author with an unseen post.";
  return "No posts: there is no unseen post that this member may see.";
}

function showError(error) {
  state.page = null;
  $("badges").hidden = true;
  $("feed").replaceChildren();
  $("next").disabled = true;
  showStatus(error.message, true);
}

function showBadges(page) {
  const badges = [
    ["engine", page.engine], ["variant", page.variant], ["fallback", page.fallback],
    ["cache", page.is_cached ? "cached" : "fresh"], ["candidates", page.candidate_count.toLocaleString("en")],
    ["duration", `${page.duration_ms.toFixed(1)} ms`], ["built", formatAge(page.built_at)],
  ];
  const nonEmpty = badges.filter(([, value]) => value !== "");
  $("badges").replaceChildren(...nonEmpty.map(([name, value]) => {
    const badge = element("span", `badge badge-${name}`, element("small", "", name), ` ${value}`);
    badge.dataset.value = value;
    return badge;
  }));
  $("badges").hidden = false;
}

// Interactions, and the changes that they cause

const like = (pick, node) => interact("like", "Liked", pick, node);
const hide = (pick, node) => interact("hide", "Hidden", pick, node);
const showLess = (pick, node, target) => interact("not_interested", `Less of this ${target}`, pick, node, target);

async function undo(eventId, description) {
  showStatus(`${description}: undone. Waiting for the feed to change …`);
  try {
    await api.sendUndo(state.memberId, eventId);
    await resetFeed();
    showStatus(`${description}: undone.`);
  } catch (error) {
    showStatus(error.message, true);
  }
}

async function interact(kind, description, pick, node, target = "") {
  const { memberId, page } = state;
  const number = ++state.requestNumber;
  for (const button of node.querySelectorAll("button")) button.disabled = true;
  node.classList.add(kind === "like" ? "liked" : "hidden-post");
  showStatus(`${description}. Waiting for the feed to change …`);
  try {
    const eventId = await api.sendInteraction(
      { memberId, postId: pick.post.id, kind, target, requestId: page.request_id });
    const nextPage = await waitForChange(page, pick.post.id, number);
    if (number !== state.requestNumber) return;
    state.cursors = [null];
    const oldIds = new Set(page.picks.map((pick) => pick.post.id));
    const newIds = new Set(nextPage.picks.map((pick) => pick.post.id).filter((id) => !oldIds.has(id)));
    showPage(nextPage, newIds);
    const undoButton = button("Undo", `Undo: ${description} ${pick.post.id}`, () => undo(eventId, description), "link undo");
    showStatus(`${description}. ${describeChange(page, nextPage, newIds)} `, false, undoButton);
    ($("feed").querySelector(".card") ?? $("reload")).focus({ preventScroll: true });
  } catch (error) {
    for (const button of node.querySelectorAll("button")) button.disabled = false;
    node.classList.remove("liked", "hidden-post");
    if (number === state.requestNumber) showStatus(error.message, true);
  }
}

// Polls the first page until its order changes or CHANGE_WAIT_MS pass: a worker learns from the interaction meanwhile.
async function waitForChange(page, postId, number) {
  const otherIds = (page) => page.picks.map((pick) => pick.post.id).filter((id) => id !== postId);
  const before = otherIds(page);
  const deadline = performance.now() + CHANGE_WAIT_MS;
  for (;;) {
    const nextPage = await api.feed(feedOptions(null));
    const isChanged = otherIds(nextPage).slice(0, before.length).join() !== before.join();
    if (isChanged || performance.now() + POLL_MS > deadline || number !== state.requestNumber) return nextPage;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function describeChange(page, nextPage, newIds) {
  const oldIndexes = new Map(page.picks.map((pick, i) => [pick.post.id, i]));
  const remaining = nextPage.picks.map((pick) => oldIndexes.get(pick.post.id)).filter((i) => i !== undefined);
  const movedUp = remaining.filter((index, i) => i > 0 && index < remaining[i - 1]).length;
  if (!newIds.size && !movedUp) return "The page is unchanged for now.";
  return `The page changed: ${newIds.size} new post${newIds.size === 1 ? "" : "s"}, ${movedUp} moved up.`;
}

// The drawer

async function openDrawer(title, loadContent) {
  $("drawer-title").textContent = title;
  $("drawer-content").replaceChildren(element("p", "empty", "Loading …"));
  if (!$("drawer").open) $("drawer").showModal();
  try {
    $("drawer-content").replaceChildren(...(await loadContent()));
  } catch (error) {
    $("drawer-content").replaceChildren(element("p", "empty error", error.message));
  }
}

const similar = (pick) => openDrawer(`Similar to ${pick.post.id}`, async () => {
  const page = await api.similar(pick.post.id, state.memberId);
  if (page.picks.length) return page.picks.map((similarPick, i) => card(similarPick, i + 1));
  return [element("p", "empty", "There is no similar post that this member may see.")];
});

const explainPost = (postId) => openDrawer(`Explanation of ${postId}`, async () => {
  if (!state.page) throw new Error("There is no page to explain. Select a member first.");
  const explanation = await retryUntilRecorded(() => api.explain(state.page.request_id, postId, state.memberId));
  const { status, rank, ranked_count: rankedCount, score, sources, filter, reasons, parts } = explanation;
  const facts = [
    ["Status", status.replaceAll("_", " ")], ["Rank", rank && `${rank} of ${rankedCount}`],
    ["Score", score?.toFixed(3)], ["Sources", sources.join(", ")], ["Filter", filter],
  ];
  const list = element("dl", "facts");
  for (const [name, value] of facts) if (value) list.append(element("dt", "", name), element("dd", "", `${value}`));
  const nodes = [element("p", "sentence", explanation.sentence), list];
  nodes.push(element("p", "reasons", reasons.map((reason) => reason.sentence).join(" · ")));
  if (parts) nodes.push(partsBar(parts));
  if (explanation.because.length) nodes.push(becauseList(explanation.because));
  return nodes;
});

// The posts whose like or rejection contributed most to each collaborative part, with their weighted contributions.
function becauseList(because) {
  const list = element("dl", "facts because");
  for (const { part, weight, reactions, others } of because) {
    const values = reactions.map((reaction) => [reaction.text.trim() || reaction.post_id, reaction.value]);
    if (others) values.push(["all others", others]);
    const items = values.map(([text, value]) => {
      const sign = value < 0 ? "−" : "+";
      return element("li", "", `${sign}${Math.abs(weight * value).toFixed(3)} ${shorten(text)}`);
    });
    list.append(element("dt", "", `${part.replaceAll("_", " ")}, because of`), element("dd", "", element("ul", "", ...items)));
  }
  return list;
}

const shorten = (text) => (text.length > MAX_REASON_LENGTH ? `${text.slice(0, MAX_REASON_LENGTH)}…` : text);

// A served page is recorded about a second after its request. Until then the API responds with unknown-request.
async function retryUntilRecorded(read) {
  const deadline = performance.now() + RECORD_WAIT_MS;
  for (;;) {
    try {
      return await read();
    } catch (error) {
      if (error.code !== "unknown-request" || performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }
}

// Event listeners

let typingTimer;
$("member-search").addEventListener("input", () => {
  clearTimeout(typingTimer);
  typingTimer = setTimeout(showMembers, 150);
});
$("member-search").addEventListener("keydown", (event) => {
  const firstMember = $("members").querySelector("button");
  const memberId = $("member-search").value.trim();
  if (event.key === "Enter" && memberId) selectMember(memberId);
  if (event.key === "ArrowDown" && firstMember) { event.preventDefault(); firstMember.focus(); }
});
$("members").addEventListener("keydown", (event) => {
  const sibling = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  if (!sibling) return;
  event.preventDefault();
  (event.target.closest("li")[sibling]?.querySelector("button") ?? $("member-search")).focus();
});
$("feeds").addEventListener("click", (event) => {
  if (!event.target.dataset.feed) return;
  state.feed = event.target.dataset.feed;
  state.searchText = $("search-text").value = "";
  resetFeed();
});
$("search-text").value = state.searchText;
$("search-form").addEventListener("submit", (event) => {
  event.preventDefault();
  state.searchText = $("search-text").value.trim();
  resetFeed();
});
$("search-text").addEventListener("search", () => { // the user cleared the field: return to the feed
  if ($("search-text").value || !state.searchText) return;
  state.searchText = "";
  resetFeed();
});
$("explain-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const postId = $("explain-post-id").value.trim();
  if (postId) explainPost(postId);
  else $("explain-post-id").focus();
});
$("explain").addEventListener("change", resetFeed);
$("reload").addEventListener("click", resetFeed);
$("next").addEventListener("click", () => {
  state.cursors.push(state.page.next_cursor);
  loadPage().then(() => scrollTo({ top: 0 }));
});
$("previous").addEventListener("click", () => {
  state.cursors.pop();
  loadPage().then(() => scrollTo({ top: 0 }));
});
$("close").addEventListener("click", () => $("drawer").close());
$("drawer").addEventListener("click", (event) => {
  if (event.target === $("drawer")) $("drawer").close(); // a click on the backdrop
});

showMembers();
resetFeed();
