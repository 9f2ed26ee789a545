// A score as a bar. Its parts are numbered and have patterns, so that they can be told apart without color.

import { gettext } from "../access/text.js";
import { element, formatName, formatSigned } from "./elements.js";

const PATTERNS = 6;
const SMALLEST_PART = 0.0005; // Smaller parts would be displayed as 0.000.

// The width of a part is proportional to its absolute value. Positive parts come first.
export function scoreBar(parts) {
  const visible = Object.entries(parts).filter(([, value]) => Math.abs(value) >= SMALLEST_PART);
  visible.sort(([, a], [, b]) => b - a);
  const bar = element("div", "parts");
  const legend = element("ol", "legend");
  visible.forEach(([name, value], i) => {
    const className = `part part-${name} ${value < 0 ? "negative" : `pattern-${i % PATTERNS}`}`;
    const segment = element("span", className, element("b", "", `${i + 1}`));
    segment.style.flexGrow = 1000 * Math.abs(value); // with a sum below 1, flex-grow would not fill the bar
    bar.append(segment);
    const key = element("span", `${className} key`, element("b", "", `${i + 1}`));
    legend.append(element("li", "", key, ` ${formatName(name)} ${formatSigned(value)}`));
  });
  bar.setAttribute("aria-hidden", "true"); // the legend has the same numbers
  legend.setAttribute("aria-label", gettext("Parts of the score"));
  return element("div", "score-parts", bar, legend);
}
