// Draws posts. Texts go in as text, never as HTML: a member wrote them.

const LONG = 320;
const UNITS = [["year", 31536000], ["month", 2592000], ["day", 86400], ["hour", 3600], ["minute", 60]];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

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

export function age(time) {
  const seconds = (Date.now() - new Date(time)) / 1000;
  const [unit, size] = UNITS.find(([, size]) => Math.abs(seconds) >= size) ?? ["second", 1];
  return relative.format(-Math.round(seconds / size), unit);
}

// One card. `acts` are the buttons' functions: like, hide, similar; those missing get no button.
export function card(pick, rank, acts = {}) {
  const { post } = pick;
  const node = element("article", "card");
  node.dataset.post = post.id;
  node.tabIndex = -1;
  node.append(head(pick, rank), textOf(post));
  if (post.tags.length) node.append(element("ul", "tags", ...post.tags.map((tag) => element("li", "", tag))));
  node.append(element("p", "reasons", pick.reasons.map((reason) => reason.sentence).join(" · ")));
  if (pick.parts) node.append(partsOf(pick.parts));
  const buttons = element("div", "buttons");
  if (acts.like) buttons.append(button("♥ Like", `Like post ${post.id}`, () => acts.like(pick, node), "like"));
  if (acts.hide) buttons.append(button("Hide", `Hide post ${post.id}`, () => acts.hide(pick, node), "hide"));
  if (acts.less) buttons.append(lessOf(pick, node, acts.less));
  if (acts.similar) buttons.append(button("Similar", `Posts similar to ${post.id}`, () => acts.similar(pick), "more"));
  if (buttons.children.length) node.append(buttons);
  return node;
}

// What of the post the member wants less of.
function lessOf(pick, node, less) {
  const { post } = pick;
  const choices = [["author", `posts by ${post.author_id}`], ["format", `${post.kind} posts`]];
  if (post.tags.length) choices.splice(1, 0, ["topic", post.tags[0]]);
  const menu = element("details", "less", element("summary", "", "Less …"));
  menu.append(...choices.map(([reason, text]) => button(text, `Less of ${text}`, () => less(pick, node, reason))));
  return menu;
}

function head(pick, rank) {
  const { post } = pick;
  const time = element("time", "", age(post.created_at));
  time.dateTime = post.created_at;
  time.title = new Date(post.created_at).toLocaleString();
  const score = element("span", "score", pick.score.toFixed(3));
  score.title = `Score; from ${pick.sources.join(", ") || "no source"}`;
  const about = element("span", "about", `${post.kind} ${post.id} by ${post.author_id} · `, time);
  return element("div", "card-head", element("span", "rank", `${rank}`), about, score);
}

function textOf(post) {
  const whole = post.text.trim();
  const short = whole.length > LONG ? `${whole.slice(0, LONG)}…` : whole;
  const node = element("p", "text", short || `(${post.kind} without text)`);
  node.dir = "auto";
  if (post.media.length) node.append(element("span", "media", ` [${post.media.map((m) => m.alt || m.kind).join(", ")}]`));
  if (short === whole) return node;
  const more = button("Show all", "", () => { node.textContent = whole; }, "link");
  node.append(" ", more);
  return node;
}

// The parts of a score as one bar: what adds to it from the left, what is subtracted after it, each part as wide as it is large.
export function partsOf(parts) {
  const known = Object.entries(parts).filter(([, value]) => Math.abs(value) >= 0.0005);
  known.sort(([, a], [, b]) => b - a);
  const bar = element("div", "parts");
  const legend = element("ul", "legend");
  for (const [name, value] of known) {
    const colour = `part part-${name} ${value < 0 ? "minus" : "plus"}`;
    const segment = element("span", colour);
    segment.style.flexGrow = 1000 * Math.abs(value); // below a sum of 1 the bar would not be filled
    bar.append(segment);
    const sign = value < 0 ? "−" : "+";
    legend.append(element("li", "", element("span", `${colour} key`), `${name} ${sign}${Math.abs(value).toFixed(3)}`));
  }
  bar.setAttribute("role", "img");
  bar.setAttribute("aria-label", `Parts: ${known.map(([name, value]) => `${name} ${value.toFixed(3)}`).join(", ")}`);
  return element("div", "why", bar, legend);
}
