// The explorer: select a member, read their feed beside what they liked, send interactions and see what changes.

import { formatNumber, gettext } from "../access/text.js";
import * as api from "./api.js";
import { card, isLocal, isPicture, markLikedTags, movementBadge, titleOf } from "./cards.js";
import { openCode } from "./code.js";
import { loadComparison } from "./comparison.js";
import { button, byId, element, formatAge, wait } from "./elements.js";
import { showExplanation } from "./explanation.js";
import { showLikes } from "./likes.js";
import { createMember, editMember } from "./member-form.js";
import { listMembers, markMember, showMembers } from "./members.js";
import { describeChange, describeMovement, findMovements } from "./movements.js";

const PAGE_SIZE = 20;
const POLL_MS = 250;
const CHANGE_WAIT_MS = 2000;
const FEEDS = ["discovery", "following", "trending", "non_personalized"];
const MODES = ["about", "similar", "why"];
const NARROW = "(max-width: 44rem)";
const mayInteract = document.body.hasAttribute("data-may-interact");
const urlParameters = new URLSearchParams(location.search);
const known = (name, values) => (values.includes(urlParameters.get(name)) ? urlParameters.get(name) : values[0]);
const state = {
  memberId: urlParameters.get("member_id"),
  feed: known("feed", FEEDS),
  mode: known("mode", MODES), // what the search box does
  searchText: urlParameters.get("text") ?? "", // empty: the page shows the feed
  cursors: [null], // of the pages up to the displayed one
  page: null,
  firstIds: [], // the posts of the feed's first page, in order
  servedAt: 0, // when the page came, from performance.now()
  actionCall: null, // the last interaction that was sent
  likedTags: new Map(), // how many of the posts that the member liked have the tag
  requestNumber: 0, // of the newest request; late responses to earlier requests are dropped
};

function showStatus(text, isError = false, ...nodes) {
  byId("status").replaceChildren(text, ...nodes);
  byId("status").classList.toggle("error", isError);
}

const idsOf = (page) => (page ? page.picks.map((pick) => pick.post.id) : []);
const isSearch = () => state.searchText !== "" && state.mode !== "why";
const feedOptions = (cursor) => ({
  memberId: state.memberId, feed: state.feed, cursor, explain: byId("explain").checked, limit: PAGE_SIZE,
});

function pageCall(cursors = state.cursors) {
  if (!isSearch()) return api.feed(feedOptions(cursors.at(-1)));
  const request = state.mode === "similar" ? api.similar : api.search;
  return request(state.searchText, state.memberId, PAGE_SIZE);
}

// Members

function selectMember(memberId) {
  state.memberId = memberId;
  markMember(memberId);
  state.likedTags = new Map();
  reloadLikes();
  return resetFeed();
}

async function reloadLikes() {
  const tags = await showLikes(state.memberId, openSimilar);
  if (!tags) return;
  state.likedTags = tags;
  markLikedTags(tags);
}

// The feed

function resetFeed() {
  for (const tab of byId("feeds").children)
    tab.setAttribute("aria-pressed", !isSearch() && tab.dataset.feed === state.feed);
  if (state.memberId === null) return Promise.resolve();
  const parameters = { member_id: state.memberId, feed: state.feed };
  if (isSearch()) Object.assign(parameters, { mode: state.mode, text: state.searchText });
  if (byId("compare")?.value) parameters.compare = byId("compare").value;
  history.replaceState(null, "", `?${new URLSearchParams(parameters)}`);
  return loadPage([null]);
}

// A click while a page loads repeats or replaces the request, since the cursors change when the page is displayed.
async function loadPage(cursors) {
  const number = ++state.requestNumber;
  byId("feed").setAttribute("aria-busy", "true");
  showStatus(gettext("Loading …"));
  try {
    const page = await api.send(pageCall(cursors));
    if (number !== state.requestNumber) return;
    state.cursors = cursors;
    showStatus("");
    showPage(page);
  } catch (error) {
    if (number === state.requestNumber) showError(error);
  } finally {
    if (number === state.requestNumber) byId("feed").setAttribute("aria-busy", "false");
  }
}

function showPage(page, movements = new Map()) {
  Object.assign(state, { page, servedAt: performance.now() });
  if (state.cursors.length === 1) state.firstIds = idsOf(page);
  const firstRank = (state.cursors.length - 1) * PAGE_SIZE + 1;
  const reactions = mayInteract && !isSearch() ? { like, hide, showLess } : {};
  const actions = { ...reactions, similar: openSimilar, why };
  const cards = page.picks.map((pick, i) => {
    const movement = movements.has(pick.post.id) ? describeMovement(movements.get(pick.post.id)) : null;
    return card(pick, firstRank + i, { actions, movement });
  });
  const title = gettext("{list}, for {member}", { list: listTitle(), member: state.memberId });
  byId("feed").replaceChildren(element("h2", "", title), ...cards);
  if (!cards.length) byId("feed").append(element("p", "empty", page.empty_reason.sentence));
  byId("remote-pictures").hidden = !page.picks.some(({ post }) => post.media.some((m) => isPicture(m) && !isLocal(m)));
  byId("remote-pictures-link").search = location.search;
  showBadges(page);
  suggestWords(page);
  byId("previous").disabled = state.cursors.length < 2;
  byId("next").disabled = !page.next_cursor;
  byId("page").textContent = gettext("Page {number}", { number: state.cursors.length });
  document.title = `${title} – ${gettext("Feed explorer")}`;
  markLikedTags(state.likedTags);
  showComparison();
}

function listTitle() {
  if (!isSearch()) return byId("feeds").querySelector(`[data-feed=${state.feed}]`).textContent;
  if (state.mode === "similar") return gettext("Posts similar to {id}", { id: state.searchText });
  return gettext("Posts about {text}", { text: state.searchText });
}

function showError(error) {
  state.page = null;
  byId("badges").hidden = true;
  byId("feed").replaceChildren();
  byId("comparison").hidden = true;
  byId("next").disabled = true;
  showStatus(error.message, true);
}

function showBadges(page) {
  const badges = [
    ["engine", gettext("engine"), page.engine === "none" ? gettext("none") : page.engine],
    ["variant", gettext("variant"), page.variant],
    ["fallback", gettext("fallback"), page.fallback],
    ["cache", gettext("cache"), page.is_cached ? gettext("cached") : gettext("fresh")],
    ["candidates", gettext("candidates"), formatNumber(page.candidate_count)],
    ["duration", gettext("duration"), `${formatNumber(page.duration_ms, 1)} ms`],
    ["built", gettext("built"), formatAge(page.built_at)],
  ];
  const nonEmpty = badges.filter(([, , value]) => value !== "");
  byId("badges").replaceChildren(...nonEmpty.map(([name, label, value]) => {
    const badge = element("span", `badge badge-${name}`, element("small", "", label), ` ${value}`);
    badge.dataset.value = value;
    return badge;
  }));
  byId("badges").hidden = false;
}

// Offers the tags and authors of displayed posts in the form of a new member.
function suggestWords(page) {
  for (const [id, words] of [
    ["known-tags", page.picks.flatMap(({ post }) => post.tags)],
    ["known-authors", page.picks.map(({ post }) => post.author_id)],
  ]) {
    const all = new Set([...[...byId(id).children].map((option) => option.value), ...words]);
    byId(id).replaceChildren(...[...all].sort().map((word) => Object.assign(element("option"), { value: word })));
  }
}

async function showComparison() {
  const choice = isSearch() || state.cursors.length > 1 ? "" : byId("compare")?.value;
  byId("comparison").hidden = !choice;
  byId("comparison-summary").textContent = "";
  document.body.classList.toggle("comparing", Boolean(choice));
  if (!choice) return;
  const number = state.requestNumber;
  byId("comparison").replaceChildren(element("p", "empty", gettext("Loading …")));
  try {
    const { memberId, page, feed } = state;
    const { nodes, sentence } = await loadComparison({ memberId, page, feed, choice, limit: PAGE_SIZE });
    if (number !== state.requestNumber) return;
    byId("comparison").replaceChildren(...nodes);
    byId("comparison-summary").textContent = sentence;
    markMissing(new Set([...byId("comparison").querySelectorAll(".card")].map((node) => node.dataset.post)));
    markLikedTags(state.likedTags);
  } catch (error) {
    if (number === state.requestNumber) byId("comparison").replaceChildren(element("p", "empty error", error.message));
  }
}

// Marks the posts of the feed that the other list does not have.
function markMissing(otherIds) {
  for (const node of byId("feed").querySelectorAll(".card"))
    if (!otherIds.has(node.dataset.post)) node.querySelector(".byline").prepend(movementBadge({ direction: "only", text: gettext("only here") }), " ");
}

// Interactions, and the changes that they cause

const LESS = {
  author: [gettext("Less of this author"), gettext("Showing less of this author")],
  topic: [gettext("Less of this topic"), gettext("Showing less of this topic")],
  kind: [gettext("Less of this kind"), gettext("Showing less of this kind")],
};
const like = (pick, node) => interact("like", [gettext("Liked"), gettext("Your like")], pick, node);
const hide = (pick, node) => interact("hide", [gettext("Hidden"), gettext("Hiding the post")], pick, node);
const showLess = (pick, node, target) => interact("not_interested", LESS[target], pick, node, target);

async function undo(undoesEventId, description) {
  const undone = gettext("{action}: undone.", { action: description });
  const number = ++state.requestNumber;
  showStatus(`${undone} ${gettext("Waiting for the feed to change …")}`);
  try {
    await api.sendEvent(api.undo({ eventId: api.newId("explorer"), memberId: state.memberId, undoesEventId }));
    reloadLikes();
    if (number !== state.requestNumber) return; // the user opened another page meanwhile
    await resetFeed();
    showStatus(undone);
  } catch (error) {
    showStatus(error.message, true);
  }
}

// The texts say what was done, and what changes the feed.
async function interact(kind, [description, subject], pick, node, target = "") {
  const { memberId, page } = state;
  const number = ++state.requestNumber;
  for (const button of node.querySelectorAll("button")) button.disabled = true;
  node.classList.add(kind === "like" ? "liked" : "hidden-post");
  showStatus(`${description}. ${gettext("Waiting for the feed to change …")}`);
  try {
    const eventId = api.newId("explorer");
    const call = api.interaction({ eventId, memberId, postId: pick.post.id, kind, target, requestId: page.request_id });
    await api.sendEvent(call);
    reloadLikes();
    const before = state.firstIds.filter((id) => id !== pick.post.id);
    const nextPage = await waitForChange(before, pick.post.id, number);
    if (number !== state.requestNumber) return;
    state.actionCall = call;
    state.cursors = [null];
    const movements = findMovements(before, idsOf(nextPage));
    showPage(nextPage, movements);
    const label = gettext("Undo: {action} {id}", { action: description, id: pick.post.id });
    const undoButton = button(gettext("Undo"), label, () => undo(eventId, description), "link undo");
    showStatus(`${description}. ${describeChange(subject, movements)} `, false, undoButton);
    (byId("feed").querySelector(".card") ?? byId("reload")).focus({ preventScroll: true });
  } catch (error) {
    for (const button of node.querySelectorAll("button")) button.disabled = false;
    node.classList.remove("liked", "hidden-post");
    if (number === state.requestNumber) showStatus(error.message, true);
  }
}

// Polls the first page until its order changes or CHANGE_WAIT_MS pass: a worker learns from the interaction meanwhile.
async function waitForChange(before, postId, number) {
  const deadline = performance.now() + CHANGE_WAIT_MS;
  for (;;) {
    const nextPage = await api.send(api.feed(feedOptions(null)));
    const after = idsOf(nextPage).filter((id) => id !== postId);
    const isChanged = after.slice(0, before.length).join() !== before.join();
    if (isChanged || performance.now() + POLL_MS > deadline || number !== state.requestNumber) return nextPage;
    await wait(POLL_MS);
  }
}

// Settings

async function openSettings() {
  try {
    const before = state.firstIds;
    await editMember(state.memberId, async (changed) => {
      if (!changed.length) return showStatus(gettext("No setting was changed."));
      await resetFeed();
      if (!state.page) return undefined; // the error is displayed
      const movements = findMovements(before, idsOf(state.page));
      showPage(state.page, movements);
      return showStatus(`${gettext("Saved.")} ${describeChange(gettext("The change of settings"), movements)}`);
    });
  } catch (error) {
    showStatus(error.message, true);
  }
}

async function openCreatedMember(memberId) {
  byId("member-search").value = "";
  state.searchText = byId("search-text").value = "";
  state.feed = FEEDS[0];
  await selectMember(memberId);
  if (state.page) showStatus(gettext("Created {member}. This is the first page that the new member gets.", { member: memberId }));
  showMembers();
}

// Search, similar posts and explanations

function openSimilar(post) {
  Object.assign(state, { mode: "similar", searchText: post.id });
  byId("search-mode").value = state.mode;
  byId("search-text").value = post.id;
  if (byId("drawer").open) byId("drawer").close();
  return resetFeed().then(() => {
    if (!state.page) return;
    showStatus(gettext("Similar to “{title}”. Choose a feed to go back.", { title: titleOf(post) }));
    byId("feed").querySelector(".card")?.focus();
  });
}

const why = (post, section) => showExplanation(section, {
  page: state.page, postId: post.id, memberId: state.memberId, servedAt: state.servedAt, isComplete: false,
});

function openExplanation(postId) {
  if (!state.page) return showStatus(gettext("There is no page to explain. Select a member first."), true);
  byId("drawer-title").textContent = gettext("Why, or why not: {id}", { id: postId });
  byId("drawer").showModal();
  const { page, memberId, servedAt } = state;
  return showExplanation(byId("drawer-content"), { page, postId, memberId, servedAt });
}

function search() {
  const text = byId("search-text").value.trim();
  const mode = byId("search-mode").value;
  if (!text) return byId("search-text").focus();
  if (mode === "why") return openExplanation(text);
  Object.assign(state, { mode, searchText: text });
  return resetFeed();
}

// The calls to show as code, by the options of the dialog.
function listCalls() {
  const { memberId, page } = state;
  const [pick] = page.picks;
  if (!pick) return { page: pageCall() };
  const event = { eventId: "a-unique-id", memberId, postId: pick.post.id, kind: "like", requestId: page.request_id };
  return {
    page: pageCall(),
    like: state.actionCall ?? api.interaction(event),
    explain: api.explain(page.request_id, pick.post.id, memberId),
  };
}

// Event listeners

byId("feed").addEventListener("keydown", (event) => { // the arrow keys go from one focused post to the next
  const sibling = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  if (!sibling || !event.target.matches(".card") || !event.target[sibling]?.matches(".card")) return;
  event.preventDefault();
  event.target[sibling].focus();
});
byId("feeds").addEventListener("click", (event) => {
  if (!event.target.dataset.feed) return;
  state.feed = event.target.dataset.feed;
  state.searchText = byId("search-text").value = "";
  resetFeed();
});
byId("search-form").addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});
byId("search-text").addEventListener("search", () => { // the user cleared the field: return to the feed
  if (byId("search-text").value || !state.searchText) return;
  state.searchText = "";
  resetFeed();
});
byId("explain").addEventListener("change", resetFeed);
byId("reload").addEventListener("click", resetFeed);
byId("compare")?.addEventListener("change", resetFeed);
byId("next").addEventListener("click", () => {
  loadPage([...state.cursors, state.page.next_cursor]).then(() => scrollTo({ top: 0 }));
});
byId("previous").addEventListener("click", () => {
  loadPage(state.cursors.slice(0, -1)).then(() => scrollTo({ top: 0 }));
});
for (const dialog of document.querySelectorAll("dialog"))
  dialog.addEventListener("click", (event) => {
    const box = dialog.getBoundingClientRect();
    const isInside = event.clientX >= box.left && event.clientX <= box.right
      && event.clientY >= box.top && event.clientY <= box.bottom;
    if (event.target.matches(".close") || (event.target === dialog && !isInside)) dialog.close(); // on the backdrop
  });
byId("new-member")?.addEventListener("click", () => createMember(openCreatedMember));
byId("settings")?.addEventListener("click", openSettings);
byId("show-code").addEventListener("click", () => {
  if (state.page) openCode(listCalls());
  else showStatus(gettext("There is no page yet. Select a member first."), true);
});

byId("search-text").value = state.searchText;
byId("search-mode").value = state.mode;
if (byId("compare")) byId("compare").value = urlParameters.get("compare") ?? "";
if (byId("compare")?.selectedIndex === -1) byId("compare").value = "";
if (matchMedia(NARROW).matches) byId("likes").open = false;
listMembers(state.memberId, selectMember);
if (state.memberId !== null) selectMember(state.memberId);
