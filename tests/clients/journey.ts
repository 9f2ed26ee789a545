// An integrator's use of the TypeScript client that is generated from the OpenAPI schema. Prints the results as JSON.
import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

const [url, key] = process.argv.slice(2);
if (!url || !key) throw new Error("Usage: journey.js URL KEY");
const api = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${key}` } });

const MEMBER = "ts-reader";
const AUTHOR = "ts-author";

function unwrap<T>(response: { data?: T; error?: unknown }): T {
  if (response.data === undefined) throw new Error(`The request failed: ${JSON.stringify(response.error)}`);
  return response.data;
}

async function waitFor<T>(read: () => Promise<T | undefined>): Promise<T> {
  for (let attempt = 0; attempt < 600; attempt++) {
    const result = await read();
    if (result !== undefined) return result;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error("No result within a minute.");
}

const members = [MEMBER, AUTHOR].map((id) => ({ id, is_private: false, is_personalized: true, languages: ["en"] }));
unwrap(await api.POST("/api/v1/members", { body: { members } }));
const posts = Array.from({ length: 12 }, (_, n) => ({
  id: `ts-post-${n}`,
  author_id: AUTHOR,
  text: `Bread and yeast, part ${n}`,
  language: "en",
  visibility: "public" as const,
  created_at: new Date().toISOString(),
}));
const postResults = unwrap(await api.POST("/api/v1/posts", { body: { posts } }));

const path = { member_id: MEMBER };
const readFeed = (cursor?: string) =>
  api.GET("/api/v1/members/{member_id}/feed", { params: { path, query: { limit: 5, cursor } } });
// A process loads new posts within a second.
const first = await waitFor(async () => {
  const page = unwrap(await readFeed());
  return page.picks.length === 5 ? page : undefined;
});
const second = unwrap(await readFeed(first.next_cursor ?? undefined));
const pick = first.picks[0];
if (!pick) throw new Error("The first page is empty.");

const eventResults = unwrap(
  await api.POST("/api/v1/interactions", {
    body: { events: [{ event_id: "ts-1", member_id: MEMBER, post_id: pick.post.id, kind: "like" }] },
  }),
);
unwrap(await api.POST("/api/v1/members/{member_id}/seen", { params: { path }, body: { post_ids: [pick.post.id] } }));
const job = unwrap(await api.POST("/api/v1/jobs", { body: { kind: "member_feed", params: { member_ids: [MEMBER] } } }));
const finishedJob = await waitFor(async () => {
  const current = unwrap(await api.GET("/api/v1/jobs/{job_id}", { params: { path: { job_id: job.id } } }));
  return current.is_finished ? current : undefined;
});
// A worker records the served page.
const explanation = await waitFor(async () => {
  const params = { path: { request_id: first.request_id, post_id: pick.post.id }, query: { viewer_id: MEMBER } };
  return (await api.GET("/api/v1/requests/{request_id}/explain/{post_id}", { params })).data;
});
const problem = await api.GET("/api/v1/members/{member_id}/feed", { params: { path: { member_id: "nobody" } } });

console.log(
  JSON.stringify({
    posts: postResults.results.length,
    pages: [first.picks.map((pick) => pick.post.id), second.picks.map((pick) => pick.post.id)],
    event_status: eventResults.results[0]?.status,
    explanation_status: explanation.status,
    job: [finishedJob.kind, finishedJob.state],
    problem: problem.error?.code,
  }),
);
