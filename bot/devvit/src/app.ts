/** The steps of a post, from the call to the comment, and back. All that is outside comes in by `Ports`; knows nothing of Devvit. */

import { jobId, ServiceError, type Job, type Service } from './api.ts';
import {
  coloredMarkdown,
  coloredRichText,
  isSaidInPublic,
  origins,
  parseCommand,
  pictureOf,
  reasonOf,
  refusal,
  refusalMarkdown,
  whyNot,
  type Post,
  type Reason,
  type Settings,
} from './plan.ts';

/** Milliseconds within which nobody else works on a post; Devvit ends everything after 30 seconds. */
const LEASE = 45_000;
/** Milliseconds of a step after which no comment is begun any more: the next step does it. */
const LATEST_COMMENT = 17_000;
const MAX_TRIES = 12;
const MIN_DELAY = 30_000;
const MAX_DELAY = 900_000;
/** Milliseconds for which a refusal that nobody was told is kept for who asks again. */
const KEEP_REFUSAL = 3_600_000;
const MINUTE = 60_000;

const ORDERS = 'orders';
const REPLIES = 'replies';
const OPT_OUTS = 'opt_outs';
const WITHDRAWN = 'withdrawn';

/** As much of Devvit's Redis as is used. */
export interface Store {
  set(key: string, value: string, options: { nx: boolean; expiration: Date }): Promise<string>;
  del(key: string): Promise<void>;
  incrBy(key: string, value: number): Promise<number>;
  expire(key: string, seconds: number): Promise<void>;
  hGet(key: string, field: string): Promise<string | undefined>;
  hSet(key: string, values: Record<string, string>): Promise<number>;
  hSetNX(key: string, field: string, value: string): Promise<number>;
  hDel(key: string, fields: string[]): Promise<number>;
}

export type Body = { text: string } | { richtext: object };

/** As much of Reddit as is used. Ids are t1_… for comments, t2_… for accounts, t3_… for posts. */
export interface Reddit {
  post(id: string): Promise<Post>;
  /** Leave a comment; its id. */
  comment(parent: string, body: Body): Promise<string>;
  /** The app's own comment right below this post or comment, if there is one. */
  findReply(parent: string, post: string): Promise<string | undefined>;
  deleteComment(id: string): Promise<void>;
  /** Have Reddit fetch a picture; its address there. */
  upload(url: string): Promise<string>;
}

export interface Ports {
  store: Store;
  reddit: Reddit;
  /** Have `step` called for this post at that time, milliseconds of the epoch. */
  schedule(post: string, at: number): Promise<void>;
  now(): number;
  log(event: string): void;
}

/** Who asks for a post's picture, and where the answer goes. */
export interface Call {
  post: string;
  /** What is answered: the post, or the comment that asked. */
  parent: string;
  caller: string;
  isModerator: boolean;
}

/** A comment as a trigger tells of it. */
export interface Heard {
  id: string;
  parent: string;
  post: string;
  author: string;
  body: string;
}

/** What becomes of a post, as Redis holds it. */
interface Order {
  parent: string;
  caller: string;
  /** When it was called for: with it, the job of a later call is another one. */
  calledAt: number;
  state: 'waiting' | 'speaking' | 'replied' | 'refused';
  /** The picture's address, as it was when the job was first asked for: the same id must stand for the same picture. */
  picture: string;
  tries: number;
  /** Comments that were begun. */
  spoken: number;
  isAsked: boolean;
  /** The colored picture's address at Reddit; "": not there yet. */
  media: string;
  refused?: Reason;
  reply?: string;
}

/** What whoever pressed a menu item is told. `reply`: the comment that is meant. */
export interface Outcome {
  said: string;
  reply?: string;
}

const ALREADY = 'I have colored this one already, in a comment below the post.';
const IN_WORK = 'It is being colored. The comment will be there in a minute or two.';
const DONE = 'Here it is in color, in a comment below the post.';
const ONLY_MODERATORS = 'Only moderators of this community can ask for that here.';
const TAKEN_BACK = 'It is taken back: the comment is deleted, and this post is not colored again.';
const NOTHING_TO_TAKE_BACK = 'There is no colored picture of mine here.';
const NOT_YOURS = 'Only who posted the photograph, who called me, or a moderator can ask for that.';

/** The app in one community. */
export class App {
  readonly #ports: Ports;
  readonly #service: Service;
  readonly #key: string;
  readonly #settings: Settings;
  readonly #name: string;

  /** `key`: makes the ids of jobs, and is as secret as the service's API key. `name`: the app's account, without u/. */
  constructor(ports: Ports, service: Service, key: string, settings: Settings, name: string) {
    this.#ports = ports;
    this.#service = service;
    this.#key = key;
    this.#settings = settings;
    this.#name = name;
  }

  /** Somebody pressed “Color this photograph”. */
  async pressed(post: string, caller: string, isModerator: boolean): Promise<Outcome> {
    if (this.#settings.menuFor === 'moderators' && !isModerator) return { said: ONLY_MODERATORS };
    const known = await this.#begin({ post, parent: post, caller, isModerator });
    return known ?? (await this.step(post));
  }

  /** A comment was written. `isModerator`: asked only where it matters. */
  async heard(comment: Heard, isModerator: () => Promise<boolean>): Promise<void> {
    const inReply = (await this.#ports.store.hGet(REPLIES, comment.parent)) !== undefined;
    const command = parseCommand(comment.body, this.#name, inReply);
    if (!command || !comment.author) return;
    const { mentions } = this.#settings;
    if (command === 'opt_out') await this.#ports.store.hSet(OPT_OUTS, { [comment.author]: '1' });
    else if (command === 'opt_in') await this.#ports.store.hDel(OPT_OUTS, [comment.author]);
    else if (command === 'delete') await this.takeBack(comment.post, comment.author, isModerator);
    else if (mentions === 'everyone' || (mentions === 'moderators' && (await isModerator()))) {
      if (await this.#hasOptedOut(comment.author)) return;
      const call = { post: comment.post, parent: comment.id, caller: comment.author, isModerator: false };
      if (!(await this.#begin(call))) await this.#ports.schedule(comment.post, this.#ports.now());
    }
  }

  /** Delete the answer and its picture, and never color this post again. `by`: who asks; null: Reddit, as the post is gone. */
  async takeBack(post: string, by: string | null, isModerator: () => Promise<boolean>): Promise<Outcome> {
    const order = await this.#read(post);
    if (!order) return { said: NOTHING_TO_TAKE_BACK };
    if (by !== null && by !== order.caller && !(await isModerator())) {
      const authors = origins(await this.#ports.reddit.post(post)).map((it) => it.author);
      if (!authors.includes(by)) return { said: NOT_YOURS };
    }
    // Written first: a step that comments just now looks for it afterwards.
    await this.#ports.store.hSet(WITHDRAWN, { [post]: '1' });
    return await this.#forget(post, (await this.#read(post)) ?? order);
  }

  /** Somebody else deleted a comment. Where it was the app's own, its post is not colored again. */
  async commentGone(comment: string): Promise<void> {
    const post = await this.#ports.store.hGet(REPLIES, comment);
    if (post) await this.takeBack(post, null, async () => false);
  }

  /**
   * Bring a post's order forward, as far as it goes within one call of Devvit's; the rest is scheduled. May be called
   * any number of times, also by two at once. What fails is tried again later; it throws only where Redis or the scheduler does.
   */
  async step(post: string): Promise<Outcome> {
    const { store, schedule, now } = this.#ports;
    const lease = `lease:${post}`;
    if ((await store.set(lease, '1', { nx: true, expiration: new Date(now() + LEASE) })) !== 'OK') {
      await schedule(post, now() + LEASE); // whoever holds it may have been cut off
      return { said: IN_WORK };
    }
    const order = await this.#read(post);
    let isUncertain = false;
    try {
      return order ? await this.#advance(post, order) : { said: NOTHING_TO_TAKE_BACK };
    } catch (error) {
      isUncertain = order?.state === 'speaking';
      return await this.#postpone(post, order!, error);
    } finally {
      // It stays where a comment was begun: whether that is there is seen only some time later.
      if (!isUncertain) await store.del(lease);
    }
  }

  async #advance(post: string, order: Order): Promise<Outcome> {
    const { reddit, schedule, now } = this.#ports;
    const began = now();
    if (order.state === 'replied' || order.state === 'refused') return this.#tell(order);
    if (order.state === 'speaking') {
      const found = await reddit.findReply(order.parent, post);
      if (found) return await this.#replied(post, order, found);
    }
    if (await this.#isWithdrawn(post)) return await this.#forget(post, order);
    const shown = await reddit.post(post);
    const reason = whyNot(shown, await this.#optedOut(shown), this.#settings.over18) ?? order.refused;
    if (reason) return await this.#refuse(post, order, reason);
    if (!order.picture) {
      const picture = pictureOf(shown);
      if ('reason' in picture) return await this.#refuse(post, order, picture.reason);
      order.picture = picture.url;
    }
    if (!order.media) {
      const job = await this.#job(post, order);
      if (job.status === 'failed') return await this.#refuse(post, order, reasonOf(job.error));
      if (job.status === 'pending') return await this.#later(post, order, job.retryAfter);
      order.media = await reddit.upload(this.#service.comparison(this.#id(post, order)));
      await this.#save(post, order);
    }
    if (now() - began > LATEST_COMMENT) {
      await schedule(post, now());
      return { said: IN_WORK };
    }
    const body = order.spoken ? { text: coloredMarkdown(order.media) } : { richtext: coloredRichText(order.media) };
    return await this.#comment(post, order, body);
  }

  /** How its job stands, which is made where there is none yet. Throws ServiceError where that may be known later. */
  async #job(post: string, order: Order): Promise<Job> {
    const id = this.#id(post, order);
    try {
      const job = order.isAsked ? await this.#service.look(id) : await this.#service.color(id, order.picture);
      order.isAsked = true;
      return job;
    } catch (error) {
      if (!(error instanceof ServiceError) || error.isTemporary) throw error;
      this.#ports.log(`refused post=${post} ${error.message}`);
      return { status: 'failed', error: error.code, retryAfter: 0 };
    }
  }

  /** There will be no picture: said below the comment that asked, else to who asks next within the hour. */
  async #refuse(post: string, order: Order, reason: Reason): Promise<Outcome> {
    order.refused = reason;
    if (order.parent !== post && isSaidInPublic(reason)) {
      await this.#comment(post, order, { text: refusalMarkdown(reason) });
    } else {
      order.state = 'refused';
      await this.#save(post, order);
      if (order.picture) await this.#erase(post, order);
    }
    return { said: refusal(reason) };
  }

  async #comment(post: string, order: Order, body: Body): Promise<Outcome> {
    if (order.spoken >= 2) {
      order.state = 'refused';
      order.refused ??= 'failed';
      await this.#save(post, order);
      return { said: refusal(order.refused) };
    }
    order.state = 'speaking';
    order.spoken += 1;
    await this.#save(post, order); // before the comment: whoever finds it so looks for the comment first
    return await this.#replied(post, order, await this.#ports.reddit.comment(order.parent, body));
  }

  async #replied(post: string, order: Order, reply: string): Promise<Outcome> {
    order.state = 'replied';
    order.reply = reply;
    await this.#save(post, order);
    await this.#ports.store.hSet(REPLIES, { [reply]: post });
    if (await this.#isWithdrawn(post)) return await this.#forget(post, order);
    if (order.picture) await this.#erase(post, order);
    return order.refused ? { said: refusal(order.refused), reply } : { said: DONE, reply };
  }

  /** Claim a post. Undefined: it is claimed now; else what is known of it. */
  async #begin(call: Call): Promise<Outcome | undefined> {
    const { store, reddit, schedule, now } = this.#ports;
    if (await this.#isWithdrawn(call.post)) return { said: refusal('withdrawn') };
    const known = await this.#read(call.post);
    if (known?.state === 'replied' || known?.state === 'refused') return this.#tell(known);
    if (known) return undefined; // it goes on
    const shown = await reddit.post(call.post);
    const reason = whyNot(shown, await this.#optedOut(shown), this.#settings.over18);
    if (reason) return { said: refusal(reason) };
    if (await this.#isOverLimit()) return { said: refusal('day_limit') };
    const order: Order = {
      ...{ parent: call.parent, caller: call.caller, calledAt: now(), state: 'waiting', picture: '' },
      ...{ tries: 0, spoken: 0, isAsked: false, media: '' },
    };
    // Should this call be cut off, the scheduled step goes on.
    if (await store.hSetNX(ORDERS, call.post, JSON.stringify(order))) await schedule(call.post, now() + MINUTE);
    return undefined;
  }

  #tell(order: Order): Outcome {
    const said = order.refused ? refusal(order.refused) : ALREADY;
    return order.reply ? { said, reply: order.reply } : { said };
  }

  async #postpone(post: string, order: Order, error: unknown): Promise<Outcome> {
    this.#ports.log(`postponed post=${post} state=${order.state} ${String(error)}`);
    return await this.#later(post, order, error instanceof ServiceError ? error.retryAfter : 0);
  }

  /** Go on after so many seconds, or never where that was often enough. */
  async #later(post: string, order: Order, retryAfter: number): Promise<Outcome> {
    const { schedule, now } = this.#ports;
    order.tries += 1;
    if (order.tries > MAX_TRIES) {
      order.state = 'refused';
      order.refused ??= 'busy';
      await this.#save(post, order);
      return { said: refusal(order.refused) };
    }
    await this.#save(post, order);
    const wait = Math.min(Math.max(retryAfter * 1000, MIN_DELAY), MAX_DELAY);
    await schedule(post, now() + (order.state === 'speaking' ? Math.max(wait, LEASE) : wait));
    return { said: IN_WORK };
  }

  /** Delete the comment and the job, as far as there are any, and what is known of the order. */
  async #forget(post: string, order: Order): Promise<Outcome> {
    if (order.reply) {
      await this.#ports.reddit.deleteComment(order.reply);
      await this.#ports.store.hDel(REPLIES, [order.reply]);
    }
    if (order.picture) await this.#erase(post, order);
    await this.#ports.store.hDel(ORDERS, [post]);
    return { said: TAKEN_BACK };
  }

  async #isWithdrawn(post: string): Promise<boolean> {
    return (await this.#ports.store.hGet(WITHDRAWN, post)) !== undefined;
  }

  /** At the service. Where that fails it is erased there within the hour. */
  async #erase(post: string, order: Order): Promise<void> {
    try {
      await this.#service.erase(this.#id(post, order));
    } catch (error) {
      this.#ports.log(`erase_failed post=${post} ${String(error)}`);
    }
  }

  #id(post: string, order: Order): string {
    return jobId(this.#key, post, order.picture, String(order.calledAt));
  }

  /** Refusals that were told to nobody are forgotten after an hour. */
  async #read(post: string): Promise<Order | undefined> {
    const text = await this.#ports.store.hGet(ORDERS, post);
    const order = text ? (JSON.parse(text) as Order) : undefined;
    if (order?.state !== 'refused' || this.#ports.now() < order.calledAt + KEEP_REFUSAL) return order;
    await this.#ports.store.hDel(ORDERS, [post]);
    return undefined;
  }

  async #save(post: string, order: Order): Promise<void> {
    await this.#ports.store.hSet(ORDERS, { [post]: JSON.stringify(order) });
  }

  async #hasOptedOut(user: string): Promise<boolean> {
    return (await this.#ports.store.hGet(OPT_OUTS, user)) !== undefined;
  }

  /** Which of a post's authors have opted out. */
  async #optedOut(post: Post): Promise<(user: string) => boolean> {
    const found = new Set<string>();
    for (const { author } of origins(post)) if (author && (await this.#hasOptedOut(author))) found.add(author);
    return (user) => found.has(user);
  }

  async #isOverLimit(): Promise<boolean> {
    const key = `day:${new Date(this.#ports.now()).toISOString().slice(0, 10)}`;
    const count = await this.#ports.store.incrBy(key, 1);
    await this.#ports.store.expire(key, 2 * 86_400);
    return count > this.#settings.dayLimit;
  }
}
