// What an integrator does, with the client that is generated from the API's description. Prints what it found as JSON.
import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

const [url, key] = process.argv.slice(2);
if (!url || !key) throw new Error("Give the address and a key.");
const api = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${key}` } });

const MEMBER = "ts-reader";
const AUTHOR = "ts-author";

function sure<T>(found: { data?: T; error?: unknown }): T {
  if (found.data === undefined) throw new Error(`refused: ${JSON.stringify(found.error)}`);
  return found.data;
}

async function until<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (let turn = 0; turn < 600; turn++) {
    const found = await look();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error("it took longer than a minute");
}

sure(await api.POST("/api/v1/members", { body: { members: [MEMBER, AUTHOR].map((id) => ({ id, is_private: false, languages: ["en"] })) } }));
const posts = Array.from({ length: 12 }, (_, n) => ({
  id: `ts-post-${n}`,
  author_id: AUTHOR,
  text: `Bread and yeast, part ${n}`,
  language: "en",
  visibility: "public" as const,
  created_at: new Date().toISOString(),
}));
const sent = sure(await api.POST("/api/v1/posts", { body: { posts } }));

const path = { member_id: MEMBER };
const feed = (cursor?: string) =>
  api.GET("/api/v1/members/{member_id}/feed", { params: { path, query: { limit: 5, cursor } } });
// A process follows the catalogue within a second.
const first = await until(async () => {
  const page = sure(await feed());
  return page.picks.length === 5 ? page : undefined;
});
const second = sure(await feed(first.next_cursor ?? undefined));
const shown = first.picks[0];
if (!shown) throw new Error("nothing was shown");

const acts = sure(
  await api.POST("/api/v1/interactions", {
    body: { events: [{ event_id: "ts-1", member_id: MEMBER, post_id: shown.post.id, kind: "like" }] },
  }),
);
sure(await api.POST("/api/v1/members/{member_id}/seen", { params: { path }, body: { post_ids: [shown.post.id] } }));
const job = sure(await api.POST("/api/v1/jobs", { body: { kind: "member_feed", params: { member_ids: [MEMBER] } } }));
const done = await until(async () => {
  const found = sure(await api.GET("/api/v1/jobs/{job_id}", { params: { path: { job_id: job.id } } }));
  return found.finished ? found : undefined;
});
// A worker writes down what was served.
const why = await until(async () => {
  const about = { path: { request_id: first.request_id, post_id: shown.post.id }, query: { viewer: MEMBER } };
  return (await api.GET("/api/v1/requests/{request_id}/explain/{post_id}", { params: about })).data;
});
const refused = await api.GET("/api/v1/members/{member_id}/feed", { params: { path: { member_id: "nobody" } } });

console.log(
  JSON.stringify({
    posts: sent.results.length,
    pages: [first.picks.map((pick) => pick.post.id), second.picks.map((pick) => pick.post.id)],
    act: acts.results[0]?.status,
    why: why.status,
    job: [done.kind, done.state],
    refused: refused.error?.code,
  }),
);
