"use strict";
// What the page of the API's documentation adds to Swagger UI, which has no samples of code and no dark mode by itself.

const systemIsDark = window.matchMedia("(prefers-color-scheme: dark)");
const followSystem = () => document.documentElement.classList.toggle("dark-mode", systemIsDark.matches);
systemIsDark.addEventListener("change", followSystem);
followSystem();

/** Shows the samples of an operation, from the schema's `x-codeSamples`, above its responses. */
const CodeSamples = () => ({
  wrapComponents: {
    responses: (Responses, { React, specSelectors }) => (props) => {
      const node = React.createElement;
      const samples = specSelectors.specJson().getIn(["paths", props.path, props.method, "x-codeSamples"]);
      const blocks = samples?.map((sample) =>
        node(
          "details",
          { key: sample.get("lang"), className: "code-sample", name: `${props.method} ${props.path}` },
          node("summary", null, sample.get("lang")),
          node("pre", { tabIndex: 0 }, node("code", null, sample.get("source"))),
        ),
      );
      return node(
        React.Fragment,
        null,
        blocks && node("section", { className: "code-samples", "aria-label": "Samples" }, blocks),
        node(Responses, props),
      );
    },
  },
});
