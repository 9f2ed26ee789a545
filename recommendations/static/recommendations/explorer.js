// The explorer: choose a member, look at the feed, act on it, see what it changes.

import * as api from "./api.js";
import { age, button, card, element, partsOf } from "./cards.js";

const PAGE = 20;
const POLL_MS = 250;
const WAIT_MS = 2000;
const RECORD_MS = 5000;
const FEEDS = ["discovery", "following", "trending", "non_personalized"];
const $ = (id) => document.getElementById(id);
const asked = new URLSearchParams(location.search);
const state = {
  member: asked.get("member"),
  feed: FEEDS.includes(asked.get("feed")) ? asked.get("feed") : FEEDS[0],
  words: asked.get("words") ?? "", // what is searched for; empty: the feed is shown
  cursors: [null], // of the pages up to this one
  page: null,
  turn: 0, // counts what was asked for, so that a late answer to an earlier question is dropped
};

function say(text, isError = false, ...more) {
  $("status").replaceChildren(text, ...more);
  $("status").classList.toggle("error", isError);
}

const wanted = (cursor) => ({
  member: state.member, feed: state.feed, cursor, explain: $("explain").checked, limit: PAGE,
});

// Members

let searching = 0;
async function showMembers() {
  const turn = ++searching;
  try {
    const { members } = await api.members($("search").value.trim());
    if (turn !== searching) return;
    $("members").replaceChildren(...members.map(memberItem));
    if (!members.length) $("members").append(element("li", "empty", "No member has such an id."));
    if (!state.member && members.length) choose(members[0].id);
  } catch (error) {
    if (turn === searching) $("members").replaceChildren(element("li", "empty error", error.message));
  }
}

function memberItem(member) {
  const count = `${member.interactions.toLocaleString("en")} act${member.interactions === 1 ? "" : "s"}`;
  const about = [count, member.languages.join(" "), member.is_active ? "" : "inactive"].filter(Boolean).join(" · ");
  const button = element("button", "member", element("b", "", member.id), element("small", "", about));
  button.type = "button";
  button.dataset.member = member.id;
  button.setAttribute("aria-current", member.id === state.member);
  button.addEventListener("click", () => choose(member.id));
  return element("li", "", button);
}

function choose(member) {
  state.member = member;
  for (const button of document.querySelectorAll(".member"))
    button.setAttribute("aria-current", button.dataset.member === member);
  restart();
}

// The feed

function restart() {
  state.cursors = [null];
  for (const tab of $("feeds").children)
    tab.setAttribute("aria-pressed", !state.words && tab.dataset.feed === state.feed);
  if (state.member === null) return Promise.resolve();
  const address = { member: state.member, feed: state.feed };
  if (state.words) address.words = state.words;
  history.replaceState(null, "", `?${new URLSearchParams(address)}`);
  return load();
}

async function load() {
  const turn = ++state.turn;
  $("feed").setAttribute("aria-busy", "true");
  say("Loading …");
  try {
    const page = await (state.words ? api.search(state.words, state.member) : api.feed(wanted(state.cursors.at(-1))));
    if (turn !== state.turn) return;
    say("");
    show(page);
  } catch (error) {
    if (turn === state.turn) showError(error);
  } finally {
    if (turn === state.turn) $("feed").setAttribute("aria-busy", "false");
  }
}

function show(page, fresh = new Set()) {
  state.page = page;
  const first = (state.cursors.length - 1) * PAGE + 1;
  const acts = state.words ? { similar } : { like, hide, less, similar };
  const cards = page.picks.map((pick, i) => card(pick, first + i, acts));
  for (const node of cards) node.classList.toggle("new", fresh.has(node.dataset.post));
  $("feed").replaceChildren(...cards);
  if (!cards.length) $("feed").append(element("p", "empty", emptyText()));
  showBadges(page);
  $("previous").disabled = state.cursors.length < 2;
  $("next").disabled = !page.next_cursor;
  $("page").textContent = `Page ${state.cursors.length}`;
}

function emptyText() {
  if (state.words) return "No post that this member may see is near to these words.";
  if (state.feed === "following") return "Nothing here: this member follows nobody who has posted anything unseen.";
  return "Nothing to show: there is no post that this member may see and has not seen.";
}

function showError(error) {
  state.page = null;
  $("badges").hidden = true;
  $("feed").replaceChildren();
  $("next").disabled = true;
  say(error.message, true);
}

function showBadges(page) {
  const badges = [
    ["engine", page.engine], ["variant", page.variant], ["fallback", page.fallback],
    ["cache", page.cached ? "cached" : "fresh"], ["candidates", page.candidates.toLocaleString("en")],
    ["took", `${page.duration_ms.toFixed(1)} ms`], ["built", age(page.built_at)],
  ];
  const shown = badges.filter(([, value]) => value !== "");
  $("badges").replaceChildren(...shown.map(([name, value]) => {
    const badge = element("span", `badge badge-${name}`, element("small", "", name), ` ${value}`);
    badge.dataset.value = value;
    return badge;
  }));
  $("badges").hidden = false;
}

// Acts, and what they change

const like = (pick, node) => act("like", "Liked", pick, node);
const hide = (pick, node) => act("hide", "Hidden", pick, node);

const less = (pick, node, reason) => act("not_interested", `Less of this ${reason}`, pick, node, reason);

async function undo(event, done) {
  say(`${done} taken back. Waiting for the feed to follow …`);
  try {
    await api.undo(state.member, event);
    await restart();
    say(`${done} taken back.`);
  } catch (error) {
    say(error.message, true);
  }
}

async function act(kind, done, pick, node, reason = "") {
  const { member, page } = state;
  const turn = ++state.turn;
  for (const button of node.querySelectorAll("button")) button.disabled = true;
  node.classList.add(kind === "like" ? "liked" : "hidden-post");
  say(`${done}. Waiting for the feed to follow …`);
  try {
    const event = await api.act({ member, post: pick.post.id, kind, reason, request: page.request_id });
    const next = await changed(page, pick.post.id, turn);
    if (turn !== state.turn) return;
    state.cursors = [null];
    const before = new Set(page.picks.map((p) => p.post.id));
    const fresh = new Set(next.picks.map((p) => p.post.id).filter((id) => !before.has(id)));
    show(next, fresh);
    const back = button("Undo", `Undo: ${done} ${pick.post.id}`, () => undo(event, done), "link undo");
    say(`${done}. ${difference(page, next, fresh)} `, false, back);
    ($("feed").querySelector(".card") ?? $("reload")).focus({ preventScroll: true });
  } catch (error) {
    for (const button of node.querySelectorAll("button")) button.disabled = false;
    node.classList.remove("liked", "hidden-post");
    if (turn === state.turn) say(error.message, true);
  }
}

// The first page, asked for until it is ordered anew or the wait is over: a worker learns from the act meanwhile.
async function changed(page, acted, turn) {
  const order = (p) => p.picks.map((pick) => pick.post.id).filter((id) => id !== acted);
  const before = order(page).join();
  const until = performance.now() + WAIT_MS;
  for (;;) {
    const next = await api.feed(wanted(null));
    const after = order(next).slice(0, order(page).length).join();
    if (after !== before || performance.now() + POLL_MS > until || turn !== state.turn) return next;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function difference(page, next, fresh) {
  const place = new Map(page.picks.map((pick, i) => [pick.post.id, i]));
  const kept = next.picks.map((pick) => place.get(pick.post.id)).filter((i) => i !== undefined);
  const moved = kept.filter((place, i) => i > 0 && place < kept[i - 1]).length;
  if (!fresh.size && !moved) return "The page is the same for now.";
  return `The page changed: ${fresh.size} new post${fresh.size === 1 ? "" : "s"}, ${moved} moved up.`;
}

// The drawer

async function tell(title, answer) {
  $("drawer-title").textContent = title;
  $("told").replaceChildren(element("p", "empty", "Loading …"));
  if (!$("drawer").open) $("drawer").showModal();
  try {
    $("told").replaceChildren(...(await answer()));
  } catch (error) {
    $("told").replaceChildren(element("p", "empty error", error.message));
  }
}

const similar = (pick) => tell(`Similar to ${pick.post.id}`, async () => {
  const page = await api.similar(pick.post.id, state.member);
  if (page.picks.length) return page.picks.map((other, i) => card(other, i + 1));
  return [element("p", "empty", "No similar post that this member may see.")];
});

const whyNot = (post) => tell(`Why is ${post} here, or not?`, async () => {
  if (!state.page) throw new Error("There is no page to ask about: choose a member first.");
  const told = await recorded(() => api.explain(state.page.request_id, post, state.member));
  const nodes = [element("p", "sentence", told.sentence)];
  const facts = [
    ["Status", told.status.replaceAll("_", " ")], ["Place", told.rank && `${told.rank} of ${told.of}`],
    ["Score", told.score?.toFixed(3)], ["Brought by", told.sources.join(", ")], ["Filter", told.filter],
  ];
  const list = element("dl", "facts");
  for (const [name, value] of facts) if (value) list.append(element("dt", "", name), element("dd", "", `${value}`));
  nodes.push(list, element("p", "reasons", told.reasons.map((reason) => reason.sentence).join(" · ")));
  if (told.parts) nodes.push(partsOf(told.parts));
  return nodes;
});

// A page is on record a second after it was made: until then it is asked for again.
async function recorded(read) {
  const until = performance.now() + RECORD_MS;
  for (;;) {
    try {
      return await read();
    } catch (error) {
      if (error.code !== "unknown-request" || performance.now() > until) throw error;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }
}

// Events

let typing;
$("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(showMembers, 150);
});
$("search").addEventListener("keydown", (event) => {
  const first = $("members").querySelector("button");
  if (event.key === "Enter" && $("search").value.trim()) choose($("search").value.trim());
  if (event.key === "ArrowDown" && first) { event.preventDefault(); first.focus(); }
});
$("members").addEventListener("keydown", (event) => {
  const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  if (!step) return;
  event.preventDefault();
  (event.target.closest("li")[step]?.querySelector("button") ?? $("search")).focus();
});
$("feeds").addEventListener("click", (event) => {
  if (!event.target.dataset.feed) return;
  state.feed = event.target.dataset.feed;
  state.words = $("words").value = "";
  restart();
});
$("words").value = state.words;
$("find").addEventListener("submit", (event) => {
  event.preventDefault();
  state.words = $("words").value.trim();
  restart();
});
$("words").addEventListener("search", () => { // the field was cleared: back to the feed
  if ($("words").value || !state.words) return;
  state.words = "";
  restart();
});
$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const post = $("about").value.trim();
  if (post) whyNot(post);
  else $("about").focus();
});
$("explain").addEventListener("change", restart);
$("reload").addEventListener("click", restart);
$("next").addEventListener("click", () => {
  state.cursors.push(state.page.next_cursor);
  load().then(() => scrollTo({ top: 0 }));
});
$("previous").addEventListener("click", () => {
  state.cursors.pop();
  load().then(() => scrollTo({ top: 0 }));
});
$("close").addEventListener("click", () => $("drawer").close());
$("drawer").addEventListener("click", (event) => {
  if (event.target === $("drawer")) $("drawer").close(); // beside the drawer
});

showMembers();
restart();
