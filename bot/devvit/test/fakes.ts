/** Stand-ins for what lies around the app: the service's `fetch`, Reddit, Redis, the scheduler and its clock. */

import { App, type Body, type Ports, type Store } from '../src/app.ts';
import { Service } from '../src/api.ts';
import type { Post, Settings } from '../src/plan.ts';

export interface Sent {
  method: string;
  url: string;
  headers: Headers;
  body: unknown;
}

/** A `fetch` that gives these answers in turn, an Error by throwing it, and what it was asked. */
export function fakeFetch(...answers: (Response | Error)[]): { fetcher: typeof fetch; sent: Sent[] } {
  const sent: Sent[] = [];
  const fetcher: typeof fetch = async (url, init) => {
    const body: unknown = init?.body ? JSON.parse(String(init.body)) : undefined;
    sent.push({ method: init?.method ?? 'GET', url: String(url), headers: new Headers(init?.headers), body });
    const answer = answers.shift();
    if (!answer) throw new Error(`no answer is left for ${init?.method} ${String(url)}`);
    if (answer instanceof Error) throw answer;
    return answer;
  };
  return { fetcher, sent };
}

export function job(status: string, headers: Record<string, string> = {}, error: object | null = null): Response {
  return Response.json({ id: 'x', status, error }, { status: status === 'succeeded' ? 200 : 202, headers });
}

export function problem(status: number, code: string, headers: Record<string, string> = {}, members: object = {}): Response {
  const document = { type: `/problems/${code}`, title: code, status, detail: `About ${code}.`, code, ...members };
  return new Response(JSON.stringify(document), { status, headers: { 'Content-Type': 'application/problem+json', ...headers } });
}

export function post(changes: Partial<Post> = {}): Post {
  return {
    ...{ id: 't3_a', author: 't2_poster', url: 'https://i.redd.it/harbor.jpg', isVideo: false, pictures: [] },
    ...{ isNsfw: false, isQuarantined: false, isRemoved: false, isLocked: false },
    ...changes,
  };
}

/** Redis as far as the app uses it; what expires does so by the world's clock. */
class FakeStore implements Store {
  readonly values = new Map<string, { value: string; until: number }>();
  readonly hashes = new Map<string, Map<string, string>>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  #value(key: string): string | undefined {
    const found = this.values.get(key);
    return found && found.until > this.#now() ? found.value : undefined;
  }

  async set(key: string, value: string, options: { nx: boolean; expiration: Date }): Promise<string> {
    if (options.nx && this.#value(key) !== undefined) return '';
    this.values.set(key, { value, until: options.expiration.getTime() });
    return 'OK';
  }

  async del(key: string): Promise<void> {
    this.values.delete(key);
  }

  async incrBy(key: string, value: number): Promise<number> {
    const sum = Number(this.#value(key) ?? 0) + value;
    this.values.set(key, { value: String(sum), until: Infinity });
    return sum;
  }

  async expire(): Promise<void> {}

  #hash(key: string): Map<string, string> {
    const found = this.hashes.get(key) ?? new Map<string, string>();
    this.hashes.set(key, found);
    return found;
  }

  async hGet(key: string, field: string): Promise<string | undefined> {
    return this.#hash(key).get(field);
  }

  async hSet(key: string, values: Record<string, string>): Promise<number> {
    for (const [field, value] of Object.entries(values)) this.#hash(key).set(field, value);
    return 1;
  }

  async hSetNX(key: string, field: string, value: string): Promise<number> {
    if (this.#hash(key).has(field)) return 0;
    this.#hash(key).set(field, value);
    return 1;
  }

  async hDel(key: string, fields: string[]): Promise<number> {
    return fields.filter((field) => this.#hash(key).delete(field)).length;
  }
}

export interface Comment {
  id: string;
  at: number;
  parent: string;
  body: Body;
}

/** Milliseconds after which Reddit's listings show a comment. */
const LISTED = 20_000;

/** One community with one post, and the app in it. */
export class World {
  time = Date.UTC(2026, 0, 1);
  shown = post();
  comments: Comment[] = [];
  uploads: string[] = [];
  scheduled: { post: string; at: number }[] = [];
  log: string[] = [];
  /** Before a comment is made, and after it: throw, or do what happens at just that time. */
  beforeComment = async (): Promise<void> => {};
  afterComment = async (): Promise<void> => {};
  readonly store = new FakeStore(() => this.time);
  readonly sent: Sent[];
  readonly #fetcher: typeof fetch;
  #made = 0;

  constructor(...answers: (Response | Error)[]) {
    const { fetcher, sent } = fakeFetch(...answers);
    this.#fetcher = fetcher;
    this.sent = sent;
  }

  /** A new process of the app's, as Devvit starts one for each call. */
  app(settings: Partial<Settings> = {}): App {
    const ports: Ports = {
      store: this.store,
      reddit: {
        post: async () => this.shown,
        comment: async (parent, body) => {
          await this.beforeComment();
          const id = `t1_app${(this.#made += 1)}`;
          this.comments.push({ id, at: this.time, parent, body });
          await this.afterComment();
          return id;
        },
        findReply: async (parent) => this.comments.find((it) => it.parent === parent && it.at + LISTED <= this.time)?.id,
        deleteComment: async (id) => {
          this.comments = this.comments.filter((it) => it.id !== id);
        },
        upload: async (url) => {
          this.uploads.push(url);
          return 'https://i.redd.it/colored.jpg';
        },
      },
      schedule: async (post, at) => {
        this.scheduled.push({ post, at });
      },
      now: () => this.time,
      log: (event) => this.log.push(event),
    };
    const service = new Service('https://colors.example.org', 'ac_key', this.#fetcher);
    const all: Settings = { menuFor: 'moderators', mentions: 'everyone', over18: false, dayLimit: 50, ...settings };
    return new App(ports, service, 'ac_key', all, 'colorize-photos');
  }

  /** Let the scheduler do all that it was given, up to this many steps; how many it did. */
  async pass(most = 50): Promise<number> {
    let count = 0;
    for (; this.scheduled.length && count < most; count += 1) {
      this.scheduled.sort((one, other) => one.at - other.at);
      const next = this.scheduled.shift()!;
      this.time = Math.max(this.time, next.at);
      await this.app().step(next.post);
    }
    return count;
  }
}
