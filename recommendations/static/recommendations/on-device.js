// The page that ranks a candidate pack in the browser. The profile is in localStorage, and no request contains it.

import { formatNumber, gettext, language, ngettext } from "../access/text.js";
import * as api from "./api.js";
import { movementBadge } from "./cards.js";
import { addPost, createRanker, emptyProfile, openPack, profileFromFile } from "./candidate-pack.js";
import { button, byId, element, formatScore } from "./elements.js";
import { listMembers, markMember } from "./members.js";
import { describeMovement, findMovements } from "./movements.js";
import { scoreBar } from "./scores.js";

const SHOWN_POSTS = 30;
const SHOWN_TAGS = 8;
const NARROW = "(max-width: 70rem)";
const state = { memberId: null, number: 0, profile: null, ranker: null, ranked: null, cards: new Map(), requests: 0, isCounting: false };

async function selectMember(memberId) {
  const number = ++state.number;
  Object.assign(state, { memberId, ranker: null, ranked: null, isCounting: false, cards: new Map() });
  markMember(memberId);
  byId("posts").replaceChildren();
  showStatus(gettext("Loading the pack …"));
  try {
    const ranker = await createRanker(await fetchPack(memberId));
    if (number !== state.number) return;
    state.ranker = ranker;
    state.profile = readProfile(ranker.pack);
    showStatus("");
    showPack(ranker.pack);
    showTags();
    rank();
    startCounting();
  } catch (error) {
    if (number === state.number) showStatus(error.message, true);
  }
}

async function fetchPack(memberId) {
  const { keys } = await api.send(api.packKeys());
  return openPack(await api.receive(api.candidatePack(memberId)), keys, { memberId });
}

// The profile

const storageKey = () => `recsys-device-profile:${state.memberId}`;

function readProfile(pack) {
  const stored = localStorage.getItem(storageKey());
  const profile = stored ? JSON.parse(stored) : emptyProfile(pack);
  return profile.embedding_model === pack.embedding_model ? profile : emptyProfile(pack);
}

// Ranks by the changed profile, and stores it if it can be used.
function changeProfile(profile) {
  const before = state.profile;
  state.profile = profile;
  try {
    rank();
    localStorage.setItem(storageKey(), JSON.stringify(profile));
    showStatus("");
  } catch (error) {
    state.profile = before;
    showStatus(error.message, true);
  }
}

async function loadFile(file) {
  try {
    const content = JSON.parse(await file.text());
    changeProfile(content.format === "recsys-profile" ? profileFromFile(content) : { ...emptyProfile({}), ...content });
    showTags();
  } catch (error) {
    showStatus(gettext("The file cannot be used: {problem}", { problem: error.message }), true);
  }
}

function saveFile() {
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(state.profile)], { type: "application/json" }));
  link.download = "device-profile.json";
  link.click();
  URL.revokeObjectURL(link.href);
}

function showTags() {
  const counts = new Map();
  for (const tag of state.ranker.pack.posts.flatMap(({ tags }) => tags)) counts.set(tag, (counts.get(tag) ?? 0) + 1);
  const tags = [...counts].sort((a, b) => b[1] - a[1]).slice(0, SHOWN_TAGS).map(([tag]) => tag);
  byId("tags").replaceChildren(element("legend", "", gettext("Topics")), ...tags.map(tagRange));
}

function tagRange(tag) {
  const input = element("input");
  Object.assign(input, { type: "range", min: -1, max: 1, step: 0.1, value: state.profile.tags[tag] ?? 0 });
  input.addEventListener("input", () => changeProfile({ ...state.profile, tags: { ...state.profile.tags, [tag]: input.valueAsNumber } }));
  return element("label", "", element("span", "", tag), input);
}

// The order

function rank() {
  const started = performance.now();
  const ranked = state.ranker.rank(state.profile);
  const milliseconds = performance.now() - started;
  const movements = state.ranked && findMovements([...state.ranked.order], [...ranked.order]);
  state.ranked = ranked;
  byId("time").textContent = `${formatNumber(milliseconds, 1)} ms`;
  const { likes, dislikes, tags } = state.profile;
  const moved = Object.values(tags).filter(Boolean).length;
  byId("counts").textContent = [
    ngettext("{n} interest", "{n} interests", likes.length),
    ngettext("{n} dislike", "{n} dislikes", dislikes.length),
    ngettext("{n} topic", "{n} topics", moved),
  ].join(", ");
  showOrder(movements);
}

function showOrder(movements) {
  const focused = document.activeElement;
  const shown = [...state.ranked.order.slice(0, SHOWN_POSTS)];
  byId("posts").replaceChildren(...shown.map((position, i) => postCard(position, i + 1, movements?.get(position) ?? 0)));
  if (focused.isConnected) focused.focus({ preventScroll: true }); // moving a node takes the focus from it
}

// The card of a post. Its buttons stay the same elements, so that the focus stays on them.
function postCard(position, rankNumber, movement) {
  if (!state.cards.has(position)) state.cards.set(position, newCard(position));
  const { node, head, score } = state.cards.get(position);
  const { scores, parts, partNames } = state.ranked;
  const row = parts.subarray(position * partNames.length, (position + 1) * partNames.length);
  const moved = describeMovement(movement);
  head.replaceChildren(element("span", "rank", `${rankNumber}`), ...(moved ? [movementBadge(moved)] : []), element("span", "score", formatScore(scores[position])));
  score.replaceChildren(scoreBar(Object.fromEntries(partNames.map((name, i) => [name, row[i]]))));
  return node;
}

function newCard(position) {
  const post = state.ranker.pack.posts[position];
  const title = element("h3", "", post.text || post.id);
  title.dir = "auto";
  const head = element("div", "card-head");
  const score = element("div");
  const buttons = [interestButton(position, "likes", gettext("More like this")), interestButton(position, "dislikes", gettext("Less like this"))];
  const byline = element("p", "byline", `${gettext("by")} `, element("b", "author", post.author_id), ` · ${[post.kind, ...post.tags].join(" · ")}`);
  const node = element("article", "card", head, title, byline, score, element("div", "buttons", ...buttons));
  node.dataset.post = post.id;
  return { node, head, score };
}

// A button that adds the post's vector to the profile, and takes it out again.
function interestButton(position, list, text) {
  let added = null;
  const node = button(text, "", () => {
    if (added && state.profile[list].includes(added)) {
      changeProfile({ ...state.profile, [list]: state.profile[list].filter((interest) => interest !== added) });
      added = null;
    } else {
      changeProfile(addPost(state.profile, state.ranker.pack, position, list));
      added = state.profile[list].at(-1);
    }
    node.setAttribute("aria-pressed", added !== null);
  });
  node.setAttribute("aria-pressed", false);
  return node;
}

// The facts

function showPack({ size, posts, key_id, expires_at }) {
  byId("pack-size").textContent = `${formatNumber(size / 1000, 1)} KB, ${ngettext("{n} post", "{n} posts", posts.length)}`;
  byId("signature").textContent = gettext("valid, by key {key}…", { key: key_id.slice(0, 8) });
  byId("expires").textContent = new Date(expires_at).toLocaleTimeString(language);
}

function showStatus(text, isError = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("error", isError);
}

function startCounting() {
  Object.assign(state, { requests: 0, isCounting: true });
  byId("requests").textContent = gettext("nothing");
}

new PerformanceObserver((list) => {
  if (!state.isCounting) return;
  state.requests += list.getEntries().length;
  byId("requests").textContent = ngettext("{n} request", "{n} requests", state.requests);
}).observe({ type: "resource" });

byId("file").addEventListener("change", ({ target }) => {
  if (target.files.length) loadFile(target.files[0]);
  target.value = ""; // so that the same file can be chosen again
});
byId("save").addEventListener("click", saveFile);
byId("forget").addEventListener("click", () => {
  changeProfile(emptyProfile(state.ranker.pack));
  localStorage.removeItem(storageKey());
  state.cards.clear();
  showOrder();
  showTags();
});
if (matchMedia(NARROW).matches) byId("profile").open = false;
listMembers(null, selectMember);
