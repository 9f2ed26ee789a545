/** A pack or a profile that cannot be used. */
export class PackError extends Error {
  code:
    | "no-pack"
    | "unknown-key"
    | "insecure-context"
    | "changed"
    | "unknown-version"
    | "different-member"
    | "expired"
    | "from-the-future"
    | "no-interests"
    | "different-embedding-model"
    | "different-dimension";
}

export interface PackedPost {
  id: string;
  author_id: string;
  kind: string;
  tags: string[];
  /** The first 100 characters. */
  text: string;
}

/** A verified pack. */
export interface CandidatePack {
  member_id: string;
  /** RFC 3339. */
  created_at: string;
  expires_at: string;
  key_id: string;
  embedding_model: string;
  dimension: number;
  variant: string;
  policy_version: number;
  /** By score part, in the order in which the parts are added. */
  weights: Record<string, number>;
  diversity: number;
  author_cap: number;
  posts: PackedPost[];
  columnNames: string[];
  /** The score parts of `columnNames` before their weights: one row for each post. */
  columns: Float32Array;
  /** One row of `dimension` numbers for each post. */
  vectors: Int8Array;
  /** Bytes of the file. */
  size: number;
}

export interface DeviceInterest {
  vector: number[];
  /** 0 to 10. */
  weight: number;
}

/** What the device knows about the member's interests. JSON; the module sends it nowhere. */
export interface DeviceProfile {
  format: "recsys-device-profile";
  version: 1;
  embedding_model: string;
  likes: DeviceInterest[];
  dislikes: DeviceInterest[];
  /** -1 to 1, by tag. */
  tags: Record<string, number>;
}

export interface RankedPack {
  /** Positions in `pack.posts`, best first. */
  order: Int32Array;
  /** The score of each post, in the order of the pack. */
  scores: Float32Array;
  /** The parts of each score, one row for each post, in the order of the pack. */
  parts: Float32Array;
  partNames: string[];
}

export interface Ranker {
  pack: CandidatePack;
  /** Throws a `PackError` if the profile is for other vectors. */
  rank(profile: DeviceProfile): RankedPack;
}

/** Verify the file of a pack and return its content. Throws a `PackError`. */
export function openPack(
  file: ArrayBuffer | Uint8Array,
  /** `keys` of `/api/v1/candidate-pack-keys`. */
  keys: JsonWebKey[],
  options?: {
    /** The member whom the pack must be for. */
    memberId?: string;
    /** Milliseconds, as `Date.now()`. */
    now?: number;
  },
): Promise<CandidatePack>;

/** Load the kernel and the vectors of a pack. */
export function createRanker(
  pack: CandidatePack,
  /** Where the kernel's files are, or their bytes. Default: beside this module. */
  options?: { builds?: { relaxed?: string | BufferSource; baseline: string | BufferSource } },
): Promise<Ranker>;

/** Return a profile without interests, for packs of the same embedding model. */
export function emptyProfile(pack: Pick<CandidatePack, "embedding_model">): DeviceProfile;

/** Return the profile with the vector of a post among its likes or dislikes, of which it keeps the newest 200. */
export function addPost(
  profile: DeviceProfile,
  pack: CandidatePack,
  position: number,
  list?: "likes" | "dislikes",
): DeviceProfile;

/** Return the profile that a profile file of the service contains. Throws a `PackError` if it has no interests. */
export function profileFromFile(file: object): DeviceProfile;
