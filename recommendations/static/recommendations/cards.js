// Renders posts.

import { gettext } from "../access/text.js";
import { button, element, formatScore, shorten, timeElement } from "./elements.js";
import { scoreBar } from "./scores.js";

const MAX_TITLE_LENGTH = 100;
const MAX_TEXT_LENGTH = 320;
const PICTURE_WIDTH = 240;
const PICTURE_HEIGHT = 160;
const allowsRemotePictures = document.body.hasAttribute("data-remote-pictures");

// The title of a post is the first line of its text.
export function titleOf(post) {
  const [line] = post.text.trim().split("\n");
  return shorten(line, MAX_TITLE_LENGTH) || gettext("{kind} without text", { kind: post.kind });
}

// A URL may be a path, which is on this server.
export const isLocal = (medium) =>
  URL.canParse(medium.url, location.origin) && new URL(medium.url, location.origin).origin === location.origin;
export const isPicture = (medium) => medium.kind.startsWith("image");

// The card of one post. `actions` maps a button (like, hide, showLess, similar, why) to its function; others are left
// out. `movement` is a text of `describeMovement`.
export function card(pick, rank, { actions = {}, movement = null } = {}) {
  const { post } = pick;
  const node = element("article", "card");
  node.dataset.post = post.id;
  node.tabIndex = -1;
  const title = element("h3", "", titleOf(post));
  title.id = `title-${crypto.getRandomValues(new Uint32Array(1))[0]}`;
  title.dir = "auto";
  node.setAttribute("aria-labelledby", title.id);
  const score = element("span", "score", formatScore(pick.score));
  const sources = pick.sources.join(", ") || gettext("none");
  score.title = gettext("Score. Sources: {sources}", { sources });
  const head = element("div", "card-head", element("span", "rank", `${rank}`), title);
  head.append(score);
  node.append(head, byline(post, movement), ...bodyOf(post));
  if (pick.reasons.length)
    node.append(element("p", "reasons", element("b", "", `${gettext("Why:")} `), pick.reasons.map((r) => r.sentence).join(" · ")));
  if (pick.parts) node.append(scoreBar(pick.parts));
  const buttons = buttonsOf(pick, node, actions);
  if (buttons.length) node.append(element("div", "buttons", ...buttons));
  return node;
}

// `movement` is a direction (up, down, new or only) and a text.
export function movementBadge({ direction, text }) {
  const arrow = element("span", "", { up: "▲ ", down: "▼ ", new: "★ ", only: "○ " }[direction]);
  arrow.setAttribute("aria-hidden", "true");
  return element("span", `movement movement-${direction}`, arrow, text);
}

function byline(post, movement) {
  const author = element("b", "author", post.author_id);
  const facts = ` · ${post.kind} · ${post.id} · `;
  const node = element("p", "byline", `${gettext("by")} `, author, facts, timeElement(post.created_at));
  if (movement) node.prepend(movementBadge(movement), " ");
  return node;
}

// Adds to each displayed tag how many of the posts that the member liked have it.
export function markLikedTags(tags) {
  for (const node of document.querySelectorAll(".card .tags li")) {
    const total = tags.get(node.dataset.tag);
    node.replaceChildren(node.dataset.tag, ...(total ? [element("small", "", ` ${gettext("liked {n}×", { n: total })}`)] : []));
    node.classList.toggle("liked-tag", Boolean(total));
  }
}

function tagItem(tag) {
  const node = element("li", "", tag);
  node.dataset.tag = tag;
  return node;
}

function bodyOf(post) {
  const nodes = [];
  if (post.media.length) nodes.push(element("div", "media", ...post.media.map(mediumNode)));
  const text = post.text.trim();
  if (text && text !== titleOf(post)) nodes.push(textBlock(text));
  if (post.tags.length) nodes.push(element("ul", "tags", ...post.tags.map(tagItem)));
  return nodes;
}

// A picture of this server is shown. One of another server is loaded only after the reader agreed to that.
function mediumNode(medium) {
  const caption = medium.alt || gettext("{kind} without description", { kind: medium.kind });
  if (!isPicture(medium) || !(isLocal(medium) || allowsRemotePictures))
    return element("span", "medium", `${medium.kind}: ${caption}`);
  const picture = element("img", "picture");
  Object.assign(picture, {
    alt: caption, width: PICTURE_WIDTH, height: PICTURE_HEIGHT, loading: "lazy", decoding: "async",
    referrerPolicy: "no-referrer", src: medium.url,
  });
  picture.addEventListener("error", () => picture.replaceWith(element("span", "medium", gettext("not loaded: {caption}", { caption }))));
  return picture;
}

function textBlock(text) {
  const excerpt = shorten(text, MAX_TEXT_LENGTH);
  const node = element("p", "text", excerpt);
  node.dir = "auto";
  if (excerpt !== text) node.append(" ", button(gettext("Show all"), "", () => { node.textContent = text; }, "link"));
  return node;
}

function buttonsOf(pick, node, actions) {
  const { post } = pick;
  const buttons = [];
  if (actions.like) buttons.push(button(`♥ ${gettext("Like")}`, gettext("Like post {id}", { id: post.id }), () => actions.like(pick, node), "like"));
  if (actions.hide) buttons.push(button(gettext("Hide"), gettext("Hide post {id}", { id: post.id }), () => actions.hide(pick, node), "hide"));
  if (actions.similar)
    buttons.push(button(gettext("Similar"), gettext("Posts similar to {id}", { id: post.id }), () => actions.similar(post), "more"));
  if (actions.why) buttons.push(whyButton(pick, node, actions.why));
  if (actions.showLess) buttons.push(showLessMenu(pick, node, actions.showLess));
  return buttons;
}

// Opens and closes the explanation inside the card.
function whyButton(pick, node, why) {
  const section = element("div", "why");
  section.hidden = true;
  const toggle = button(gettext("Why?"), gettext("Why post {id} is here", { id: pick.post.id }), () => {
    section.hidden = !section.hidden;
    toggle.setAttribute("aria-expanded", !section.hidden);
    if (!section.isConnected) node.append(section);
    if (!section.hidden) why(pick.post, section);
  }, "why-button");
  toggle.setAttribute("aria-expanded", "false");
  return toggle;
}

// A menu of the targets of negative feedback on a post: its author, its main topic and its kind.
function showLessMenu(pick, node, showLess) {
  const { post } = pick;
  const choices = [
    ["author", gettext("posts by {author}", { author: post.author_id })],
    ["kind", gettext("{kind} posts", { kind: post.kind })],
  ];
  if (post.tags.length) choices.splice(1, 0, ["topic", post.tags[0]]);
  const buttons = choices.map(([target, text]) =>
    button(text, gettext("Show less: {what}", { what: text }), () => showLess(pick, node, target)));
  // Flex on <details> does not apply to its content, which Chromium puts into a slot. So the buttons have a wrapper.
  const list = element("div", "show-less-choices", ...buttons);
  return element("details", "show-less", element("summary", "", gettext("Show less …")), list);
}
