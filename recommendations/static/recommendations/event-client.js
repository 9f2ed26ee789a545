// Sends what a member does on a platform's page: which posts were on the screen, for how long, and what was clicked or
// liked. docs/event-client.md describes it, and event-client.d.ts has its types.
//
// Events wait in the page's storage until the service has answered for them, so a lost connection or a closed page loses
// none. Each has an id of its own, with which the service counts it once however often it is sent.

const SEEN_SHARE = 0.5; // of a post, or of the screen if the post is higher than that
const SEEN_MS = 1000;
const MIN_DWELL_MS = 2000;
const MAX_DWELL_MS = 30 * 60 * 1000;
const BATCH = 100; // the requests of a page that is closed may have 64 KB together
const MAX_WAITING = 2000;
const FIRST_RETRY_MS = 5000;
const LAST_RETRY_MS = 5 * 60 * 1000;

const readProblem = (response) => response.json().catch(() => ({ status: response.status }));

export class EventClient {
  #options;
  #hasConsent;
  #waiting;
  #timer = 0;
  #isSending = false;
  #retryMs = FIRST_RETRY_MS;
  #prefix;
  #key;
  #posts = new Map(); // element -> what is known of the post in it
  #observer;

  constructor({ url, memberId, getToken, hasConsent = false, flushMs = 5000, storage = localStorage, onProblem = () => {} }) {
    this.#options = { url: url.replace(/\/$/, ""), memberId, getToken, flushMs, storage, onProblem };
    this.#prefix = `recsys-events:${encodeURIComponent(memberId)}:`; // an id may contain a colon, and begin with another id
    this.#key = this.#prefix + crypto.randomUUID(); // of this tab: two tabs would overwrite each other's events
    this.#hasConsent = hasConsent;
    this.#waiting = this.#read();
    this.#observer = new IntersectionObserver((entries) => entries.forEach((entry) => this.#see(entry)), {
      threshold: [0, 0.1, 0.2, 0.3, 0.4, SEEN_SHARE, 0.75, 1],
    });
    addEventListener("visibilitychange", this.#onVisibility);
    addEventListener("online", this.#onOnline);
    if (!hasConsent) this.#clear();
    this.#write();
    if (this.#waiting.length) this.#schedule();
  }

  // The number of events and seen posts that the service has not answered for.
  get waiting() {
    return this.#waiting.length;
  }

  // Without consent nothing is observed, stored or sent. Taking it back deletes what waits.
  setConsent(hasConsent) {
    this.#hasConsent = hasConsent;
    if (!hasConsent) this.#clear();
    else for (const element of this.#posts.keys()) this.#restart(element);
  }

  // Report when the post in the element was on the screen, and for how long.
  observe(element, { postId, requestId }) {
    this.#posts.set(element, { postId, requestId, since: 0, timer: 0, isSeen: false });
    this.#observer.observe(element);
  }

  // Stop observing an element, such as before it is removed.
  unobserve(element) {
    this.#leave(this.#posts.get(element));
    this.#observer.unobserve(element);
    this.#posts.delete(element);
  }

  // Report an interaction: "click", "like", "hide" and so on. Returns the id with which it can be undone.
  record(kind, { postId, requestId, value, target }) {
    return this.#add({ kind, post_id: postId, request_id: requestId, value, target });
  }

  // Report that the member took an interaction back.
  undo(eventId) {
    return this.#add({ undoes_event_id: eventId });
  }

  // Send everything that waits, and return when the service has answered or cannot be reached.
  async flush({ isLast = false } = {}) {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (this.#isSending || !this.#hasConsent) return;
    this.#isSending = true;
    try {
      let isAnswered = true;
      while (this.#waiting.length && isAnswered) isAnswered = await this.#sendBatch(isLast);
    } finally {
      this.#isSending = false;
    }
    if (this.#waiting.length) this.#schedule(this.#retryMs);
  }

  // Stop observing and sending. What waits is sent by the next client of the member in this browser.
  close() {
    for (const element of [...this.#posts.keys()]) this.unobserve(element);
    clearTimeout(this.#timer);
    this.#observer.disconnect();
    removeEventListener("visibilitychange", this.#onVisibility);
    removeEventListener("online", this.#onOnline);
  }

  #onVisibility = () => {
    if (document.visibilityState === "visible") {
      for (const element of this.#posts.keys()) this.#restart(element);
      return;
    }
    for (const post of this.#posts.values()) this.#leave(post);
    this.flush({ isLast: true });
  };

  #onOnline = () => {
    this.#retryMs = FIRST_RETRY_MS;
    this.flush();
  };

  // Has the observer report the element's present state.
  #restart(element) {
    this.#observer.unobserve(element);
    this.#observer.observe(element);
  }

  #see({ target, isIntersecting, intersectionRatio, intersectionRect, rootBounds }) {
    const post = this.#posts.get(target);
    if (!post || !this.#hasConsent) return;
    const screenShare = rootBounds ? intersectionRect.height / rootBounds.height : 0;
    if (!isIntersecting || Math.max(intersectionRatio, screenShare) < SEEN_SHARE) return this.#leave(post);
    if (post.since) return;
    post.since = performance.now();
    post.timer = setTimeout(() => this.#markSeen(post), SEEN_MS);
  }

  #markSeen(post) {
    if (post.isSeen) return;
    post.isSeen = true;
    this.#push({ seen_post_id: post.postId });
  }

  #leave(post) {
    if (!post?.since) return;
    clearTimeout(post.timer);
    const ms = Math.min(performance.now() - post.since, MAX_DWELL_MS);
    post.since = 0;
    if (ms < MIN_DWELL_MS) return;
    this.#add({ kind: "dwell", post_id: post.postId, request_id: post.requestId, value: Math.round(ms / 100) / 10 });
  }

  #add(fields) {
    const event = { event_id: crypto.randomUUID(), member_id: this.#options.memberId, ...fields };
    this.#push({ ...event, occurred_at: new Date().toISOString() });
    return event.event_id;
  }

  #push(item) {
    if (!this.#hasConsent) return;
    this.#waiting.push(item);
    if (this.#waiting.length > MAX_WAITING) this.#waiting.splice(0, this.#waiting.length - MAX_WAITING);
    this.#write();
    if (this.#waiting.length >= BATCH) this.flush();
    else this.#schedule();
  }

  #schedule(ms = this.#options.flushMs) {
    if (!this.#timer) this.#timer = setTimeout(() => this.flush(), ms);
  }

  // Sends the oldest items of one kind. Returns whether the service has answered for them.
  async #sendBatch(isLast) {
    const isSeen = "seen_post_id" in this.#waiting[0];
    const end = this.#waiting.findIndex((item) => "seen_post_id" in item !== isSeen);
    const batch = this.#waiting.slice(0, Math.min(end < 0 ? BATCH : end, BATCH));
    const { memberId } = this.#options;
    const path = isSeen ? `members/${encodeURIComponent(memberId)}/seen` : "interactions";
    const body = isSeen ? { post_ids: batch.map((item) => item.seen_post_id) } : { events: batch };
    const response = await this.#post(path, body, isLast);
    if (!response) return false;
    const isRefused = response.status >= 400 && response.status < 500 && ![401, 403, 408, 429].includes(response.status);
    if (!response.ok && !isRefused) return this.#wait(response);
    const content = await readProblem(response);
    const problems = isRefused ? [content] : (content.results ?? []).map((result) => result.problem).filter(Boolean);
    problems.forEach(this.#options.onProblem);
    this.#retryMs = FIRST_RETRY_MS;
    const answered = new Set(batch);
    this.#waiting = this.#waiting.filter((item) => !answered.has(item));
    this.#write();
    return true;
  }

  async #post(path, body, isLast) {
    try {
      return await fetch(`${this.#options.url}/api/v1/${path}`, {
        method: "POST",
        headers: { "Content-Type": "application/json", Authorization: `Bearer ${await this.#options.getToken()}` },
        body: JSON.stringify(body),
        keepalive: isLast, // the browser finishes the request after the page is closed
      });
    } catch {
      this.#retryMs = Math.min(2 * this.#retryMs, LAST_RETRY_MS);
      return null;
    }
  }

  // Keeps what waits for the next attempt. A token that is refused is reported: perhaps it lacks the scope.
  async #wait(response) {
    if ([401, 403].includes(response.status)) this.#options.onProblem(await readProblem(response));
    const seconds = Number(response.headers.get("Retry-After"));
    this.#retryMs = seconds > 0 ? 1000 * seconds : Math.min(2 * this.#retryMs, LAST_RETRY_MS);
    return false;
  }

  // Takes over what other clients of the member have stored: those of closed pages, and of other tabs. An open tab sends
  // its events itself, too, and the service counts each once.
  #read() {
    const { storage } = this.#options;
    const items = [];
    try {
      for (const key of Object.keys(storage).filter((name) => name.startsWith(this.#prefix))) {
        items.push(...JSON.parse(storage.getItem(key)));
        storage.removeItem(key);
      }
    } catch {
      // The storage is forbidden, or holds what this client has not written.
    }
    return items.slice(-MAX_WAITING);
  }

  #write() {
    try {
      if (this.#waiting.length) this.#options.storage.setItem(this.#key, JSON.stringify(this.#waiting));
      else this.#options.storage.removeItem(this.#key);
    } catch {
      // The storage is full or forbidden: the events wait in memory.
    }
  }

  #clear() {
    this.#waiting = [];
    for (const post of this.#posts.values()) {
      clearTimeout(post.timer);
      post.since = 0;
    }
    this.#write();
  }
}
