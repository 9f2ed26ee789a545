/** The post that an element shows, and the page of a feed that contained it. */
export interface ShownPost {
  postId: string;
  /** `request_id` of the page. With it, the interaction counts for the feed's quality and for experiments. */
  requestId?: string;
}

export interface EventClientOptions {
  /** The address of the service, such as `https://recs.example.com`. The page's origin must be in `CORS_ALLOWED_ORIGINS`. */
  url: string;
  memberId: string;
  /** Returns a token of the member with the scope `interactions:write`. Called for each request. */
  getToken: () => string | Promise<string>;
  /** Whether the member agreed to this. Default: false. */
  hasConsent?: boolean;
  /** Longest time that an event waits to be sent together with others, in milliseconds. Default: 5000. */
  flushMs?: number;
  /** Where events wait. Default: `localStorage`. */
  storage?: Storage;
  /** Receives the problem (RFC 9457) of each event, or request, that the service refused for good, and of a refused token. */
  onProblem?: (problem: { status: number; code?: string; detail?: string }) => void;
}

export type InteractionKind =
  | "view"
  | "click"
  | "dwell"
  | "like"
  | "comment"
  | "share"
  | "save"
  | "follow"
  | "hide"
  | "not_interested"
  | "report";

export class EventClient {
  constructor(options: EventClientOptions);
  /** The number of events and seen posts that the service has not answered for. */
  readonly waiting: number;
  /** Without consent nothing is observed, stored or sent. Taking it back deletes what waits. */
  setConsent(hasConsent: boolean): void;
  /** Report when the post in the element was on the screen, and for how long. */
  observe(element: Element, post: ShownPost): void;
  unobserve(element: Element): void;
  /** Report an interaction. Returns its id, with which it can be undone. */
  record(kind: InteractionKind, event: ShownPost & { value?: number; target?: "author" | "topic" | "kind" }): string;
  undo(eventId: string): string;
  /** Send everything that waits. */
  flush(): Promise<void>;
  /** Stop observing and sending. What waits is sent by the next client of the member in this browser. */
  close(): void;
}
