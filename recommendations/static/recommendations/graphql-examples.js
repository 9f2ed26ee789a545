// Queries to begin with. `needs` names the ids that an example takes, besides the member's.

export const EXAMPLES = [
  {
    title: "A feed with its reasons",
    query: `query Feed($memberId: ID!) {
  discoveryFeed(memberId: $memberId, first: 5) {
    requestId engine fallback emptyReason
    edges {
      node {
        score
        post { id text }
        reasons { sentence }
      }
    }
    pageInfo { hasNextPage endCursor }
  }
}
`,
  },
  {
    title: "A feed with the parts of each score",
    query: `query ScoreParts($memberId: ID!) {
  feed(name: "discovery", memberId: $memberId, first: 5, explain: true) {
    edges {
      node {
        score sources
        post { id }
        parts { name value }
      }
    }
  }
}
`,
  },
  {
    title: "Similar posts",
    needs: ["postId"],
    query: `query Similar($memberId: ID!, $postId: ID!) {
  similarPosts(viewerId: $memberId, postId: $postId, first: 5) {
    post { id authorId text }
    score
  }
}
`,
  },
  {
    title: "Search by a text",
    values: { text: "bread" },
    query: `query Search($memberId: ID!, $text: String!) {
  crossModalSearch(viewerId: $memberId, text: $text, first: 5) {
    post { id text tags }
    score
  }
}
`,
  },
  {
    title: "Why a post was served",
    needs: ["requestId", "postId"],
    query: `query Why($memberId: ID!, $requestId: UUID!, $postId: ID!) {
  explain(viewerId: $memberId, requestId: $requestId, postId: $postId) {
    status sentence rank rankedCount score
    parts { name value }
    reasons { sentence }
  }
}
`,
  },
  {
    title: "A member's preferences",
    query: `query Preferences($memberId: ID!) {
  preferences(memberId: $memberId) {
    languages sensitivity isPrivate isPersonalized
    interestTags mutedTags mutedWords
  }
}
`,
  },
  {
    title: "The progress of a job",
    needs: ["jobId"],
    query: `query Job($jobId: UUID!) {
  job(id: $jobId) { kind state done total failed isFinished }
}
`,
  },
  {
    title: "Add an interest",
    values: { tags: ["bread"] },
    query: `# This changes the member's interests: it replaces the list.
mutation Interests($memberId: ID!, $tags: [String!]!) {
  updatePreferences(memberId: $memberId, changes: { interestTags: $tags }) {
    interestTags
  }
}
`,
  },
];

export const changesData = ({ query }) => /^mutation\b/m.test(query);
