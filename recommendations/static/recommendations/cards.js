// Renders posts.

import { button, element, shorten, timeElement } from "./elements.js";
import { scoreBar } from "./scores.js";

const MAX_TITLE_LENGTH = 100;
const MAX_TEXT_LENGTH = 320;
const PICTURE_WIDTH = 240;
const PICTURE_HEIGHT = 160;
const allowsRemotePictures = document.body.hasAttribute("data-remote-pictures");

// The title of a post is the first line of its text.
export function titleOf(post) {
  const [line] = post.text.trim().split("\n");
  return shorten(line, MAX_TITLE_LENGTH) || `${post.kind} without text`;
}

export const isLocal = (medium) => URL.canParse(medium.url) && new URL(medium.url).origin === location.origin;
export const isPicture = (medium) => medium.kind.startsWith("image");

// The card of one post. `actions` maps a button (like, hide, showLess, similar, why) to its function; others are left
// out. `movement` is a text such as "up 2".
export function card(pick, rank, { actions = {}, movement = "" } = {}) {
  const { post } = pick;
  const node = element("article", "card");
  node.dataset.post = post.id;
  node.tabIndex = -1;
  const title = element("h3", "", titleOf(post));
  title.id = `title-${crypto.getRandomValues(new Uint32Array(1))[0]}`;
  title.dir = "auto";
  node.setAttribute("aria-labelledby", title.id);
  const score = element("span", "score", pick.score.toFixed(3));
  score.title = `Score. Sources: ${pick.sources.join(", ") || "none"}`;
  const head = element("div", "card-head", element("span", "rank", `${rank}`), title);
  head.append(score);
  node.append(head, byline(post, movement), ...bodyOf(post));
  if (pick.reasons.length)
    node.append(element("p", "reasons", element("b", "", "Why: "), pick.reasons.map((r) => r.sentence).join(" · ")));
  if (pick.parts) node.append(scoreBar(pick.parts));
  const buttons = buttonsOf(pick, node, actions);
  if (buttons.length) node.append(element("div", "buttons", ...buttons));
  return node;
}

export function movementBadge(movement) {
  const [direction] = movement.split(" ");
  const arrow = element("span", "", { up: "▲ ", down: "▼ ", new: "★ " }[direction] ?? "○ ");
  arrow.setAttribute("aria-hidden", "true");
  return element("span", `movement movement-${direction}`, arrow, movement);
}

function byline(post, movement) {
  const author = element("b", "author", post.author_id);
  const facts = ` · ${post.kind} · ${post.id} · `;
  const node = element("p", "byline", "by ", author, facts, timeElement(post.created_at));
  if (movement) node.prepend(movementBadge(movement), " ");
  return node;
}

// Adds to each displayed tag how many of the posts that the member liked have it.
export function markLikedTags(tags) {
  for (const node of document.querySelectorAll(".card .tags li")) {
    const total = tags.get(node.dataset.tag);
    node.replaceChildren(node.dataset.tag, ...(total ? [element("small", "", ` liked ${total}×`)] : []));
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
  const caption = medium.alt || `${medium.kind} without description`;
  if (!isPicture(medium) || !(isLocal(medium) || allowsRemotePictures))
    return element("span", "medium", `${medium.kind}: ${caption}`);
  const picture = element("img", "picture");
  Object.assign(picture, {
    alt: caption, width: PICTURE_WIDTH, height: PICTURE_HEIGHT, loading: "lazy", decoding: "async",
    referrerPolicy: "no-referrer", src: medium.url,
  });
  picture.addEventListener("error", () => picture.replaceWith(element("span", "medium", `not loaded: ${caption}`)));
  return picture;
}

function textBlock(text) {
  const excerpt = shorten(text, MAX_TEXT_LENGTH);
  const node = element("p", "text", excerpt);
  node.dir = "auto";
  if (excerpt !== text) node.append(" ", button("Show all", "", () => { node.textContent = text; }, "link"));
  return node;
}

function buttonsOf(pick, node, actions) {
  const { post } = pick;
  const buttons = [];
  if (actions.like) buttons.push(button("♥ Like", `Like post ${post.id}`, () => actions.like(pick, node), "like"));
  if (actions.hide) buttons.push(button("Hide", `Hide post ${post.id}`, () => actions.hide(pick, node), "hide"));
  if (actions.similar)
    buttons.push(button("Similar", `Posts similar to ${post.id}`, () => actions.similar(post), "more"));
  if (actions.why) buttons.push(whyButton(pick, node, actions.why));
  if (actions.showLess) buttons.push(showLessMenu(pick, node, actions.showLess));
  return buttons;
}

// Opens and closes the explanation inside the card.
function whyButton(pick, node, why) {
  const section = element("div", "why");
  section.hidden = true;
  const toggle = button("Why?", `Why post ${pick.post.id} is here`, () => {
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
  const choices = [["author", `posts by ${post.author_id}`], ["kind", `${post.kind} posts`]];
  if (post.tags.length) choices.splice(1, 0, ["topic", post.tags[0]]);
  const buttons = choices.map(([target, text]) =>
    button(text, `Show less: ${text}`, () => showLess(pick, node, target)));
  // Flex on <details> does not apply to its content, which Chromium puts into a slot. So the buttons have a wrapper.
  const list = element("div", "show-less-choices", ...buttons);
  return element("details", "show-less", element("summary", "", "Show less …"), list);
}
