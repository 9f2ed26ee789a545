// Shows GraphiQL with the session of the reader. Its files are in static/graphiql.

const token = document.querySelector("meta[name=csrf-token]").content;
const query = `# Ctrl-Enter sends the query. Ctrl-Space completes a name.
query($memberId: ID!) {
  discoveryFeed(memberId: $memberId, first: 5) {
    edges { node { post { id text } score reasons { sentence } } }
  }
}
`;

// Some member, so that the first query has a result.
async function findMember() {
  const response = await fetch("/api/v1/members?limit=1");
  const { members = [] } = response.ok ? await response.json() : {};
  return members[0]?.id ?? "42";
}

// GraphiQL stores what its reader typed last, and a given value would replace it.
const stored = localStorage.getItem("graphiql:variables");
const variables = stored ?? JSON.stringify({ memberId: await findMember() }, null, 2);
ReactDOM.createRoot(document.getElementById("graphiql")).render(
  React.createElement(GraphiQL, {
    fetcher: GraphiQL.createFetcher({ url: "/graphql", headers: { "X-CSRFToken": token } }),
    defaultQuery: query,
    variables,
  }),
);
