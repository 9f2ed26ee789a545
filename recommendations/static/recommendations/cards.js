// Renders posts. Post texts are inserted as text, never as HTML, because members write them.

const MAX_TEXT_LENGTH = 320;
const UNITS = [["year", 31536000], ["month", 2592000], ["day", 86400], ["hour", 3600], ["minute", 60]];
const relativeTime = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

export function element(tag, className = "", ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

export function button(text, label, onClick, className = "") {
  const node = element("button", className, text);
  node.type = "button";
  if (label) node.setAttribute("aria-label", label);
  node.addEventListener("click", onClick);
  return node;
}

export function formatAge(time) {
  const seconds = (Date.now() - new Date(time)) / 1000;
  const [unit, size] = UNITS.find(([, size]) => Math.abs(seconds) >= size) ?? ["second", 1];
  return relativeTime.format(-Math.round(seconds / size), unit);
}

// The card of one post. `actions` maps a button (like, hide, showLess, similar) to its function; others are omitted.
export function card(pick, rank, actions = {}) {
  const { post } = pick;
  const node = element("article", "card");
  node.dataset.post = post.id;
  node.tabIndex = -1;
  node.append(cardHead(pick, rank), textBlock(post));
  if (post.tags.length) node.append(element("ul", "tags", ...post.tags.map((tag) => element("li", "", tag))));
  node.append(element("p", "reasons", pick.reasons.map((reason) => reason.sentence).join(" · ")));
  if (pick.parts) node.append(partsBar(pick.parts));
  const buttons = element("div", "buttons");
  if (actions.like) buttons.append(button("♥ Like", `Like post ${post.id}`, () => actions.like(pick, node), "like"));
  if (actions.hide) buttons.append(button("Hide", `Hide post ${post.id}`, () => actions.hide(pick, node), "hide"));
  if (actions.similar)
    buttons.append(button("Similar", `Posts similar to ${post.id}`, () => actions.similar(pick), "more"));
  if (actions.showLess) buttons.append(showLessMenu(pick, node, actions.showLess));
  if (buttons.children.length) node.append(buttons);
  return node;
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

function cardHead(pick, rank) {
  const { post } = pick;
  const time = element("time", "", formatAge(post.created_at));
  time.dateTime = post.created_at;
  time.title = new Date(post.created_at).toLocaleString();
  const score = element("span", "score", pick.score.toFixed(3));
  score.title = `Score. Sources: ${pick.sources.join(", ") || "none"}`;
  const about = element("span", "about", `${post.kind} ${post.id} by ${post.author_id} · `, time);
  return element("div", "card-head", element("span", "rank", `${rank}`), about, score);
}

function textBlock(post) {
  const text = post.text.trim();
  const excerpt = text.length > MAX_TEXT_LENGTH ? `${text.slice(0, MAX_TEXT_LENGTH)}…` : text;
  const node = element("p", "text", excerpt || `(${post.kind} without text)`);
  node.dir = "auto";
  if (post.media.length) node.append(element("span", "media", ` [${post.media.map((m) => m.alt || m.kind).join(", ")}]`));
  if (excerpt === text) return node;
  const more = button("Show all", "", () => { node.textContent = text; }, "link");
  node.append(" ", more);
  return node;
}

// The parts of a score as one bar, positive parts first. The width of a part is proportional to its absolute value.
export function partsBar(parts) {
  const visible = Object.entries(parts).filter(([, value]) => Math.abs(value) >= 0.0005);
  visible.sort(([, a], [, b]) => b - a);
  const bar = element("div", "parts");
  const legend = element("ul", "legend");
  for (const [name, value] of visible) {
    const className = `part part-${name} ${value < 0 ? "negative" : "positive"}`;
    const segment = element("span", className);
    segment.style.flexGrow = 1000 * Math.abs(value); // with a sum below 1, flex-grow would not fill the bar
    bar.append(segment);
    const sign = value < 0 ? "−" : "+";
    legend.append(element("li", "", element("span", `${className} key`), `${name} ${sign}${Math.abs(value).toFixed(3)}`));
  }
  bar.setAttribute("role", "img");
  bar.setAttribute("aria-label", `Parts: ${visible.map(([name, value]) => `${name} ${value.toFixed(3)}`).join(", ")}`);
  return element("div", "score-parts", bar, legend);
}
