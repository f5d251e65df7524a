/** The app at Devvit: its endpoints, as devvit.json names them, and Reddit, Redis and the scheduler as the app's ports. */

import type { IncomingMessage } from 'node:http';

import { context, createServer, getServerPort, media, reddit, redis, scheduler, settings } from '@devvit/web/server';
import type { TaskRequest } from '@devvit/web/server';
import { T1, T3, type MenuItemRequest, type OnCommentCreateRequest, type OnCommentDeleteRequest } from '@devvit/web/shared';
import type { OnPostDeleteRequest, UiResponse } from '@devvit/web/shared';

import { App, type Outcome, type Ports } from './app.ts';
import { originOf, Service } from './api.ts';
import type { Post } from './plan.ts';

/** AccountTypeV2.ACCOUNT_TYPE_APP of @devvit/protos. */
const ACCOUNT_OF_AN_APP = 3;
/** GalleryMediaStatus.VALID of @devvit/reddit. */
const VALID = 1;
/** Comments in which the app looks for its own. */
const LOOK_AT = 100;

const ports: Ports = {
  store: redis,
  reddit: {
    post: (id) => postOf(T3(id)),
    comment: async (parent, body) => (await reddit.submitComment({ id: thing(parent), ...body })).id,
    findReply: async (parent, post) => {
      const place = parent.startsWith('t1_') ? { commentId: T1(parent) } : { depth: 1 };
      const listing = reddit.getComments({ postId: T3(post), ...place, limit: LOOK_AT, pageSize: LOOK_AT, sort: 'new' });
      return (await listing.all()).find((it) => it.authorName === context.appSlug && it.parentId === parent)?.id;
    },
    deleteComment: async (id) => (await reddit.getCommentById(T1(id))).delete(),
    upload: async (url) => (await media.upload({ url, type: 'image' })).mediaUrl,
  },
  schedule: async (post, at) => {
    await scheduler.runJob({ name: 'step', data: { post }, runAt: new Date(at) });
  },
  now: Date.now,
  log: console.log,
};

function thing(id: string): T1 | T3 {
  return id.startsWith('t1_') ? T1(id) : T3(id);
}

async function postOf(id: T3, depth = 0): Promise<Post> {
  const post = await reddit.getPostById(id);
  const original = post.crosspostParentId;
  return {
    id: post.id,
    author: post.authorId ?? '',
    url: post.url,
    isVideo: Boolean(post.secureMedia?.redditVideo ?? post.secureMedia?.type),
    pictures: post.gallery.map(({ url, status }) => ({ url, isThere: status === VALID })),
    isNsfw: post.nsfw,
    isQuarantined: post.quarantined,
    isRemoved: post.removed || post.spam || post.removedByCategory !== undefined,
    isLocked: post.locked || post.archived,
    ...(original ? { original: depth < 3 ? await postOf(original, depth + 1).catch(() => null) : null } : {}),
  };
}

async function makeApp(): Promise<App> {
  const set = await settings.getAll<Record<string, unknown>>();
  const key = text(set['api_key']);
  if (!key) throw new Error('api_key is not set: npx devvit settings set api_key');
  return new App(
    ports,
    new Service(originOf(text(set['service_host'])), key),
    key,
    {
      menuFor: text(set['menu_for']) === 'everyone' ? 'everyone' : 'moderators',
      mentions: oneOf(text(set['mentions']), ['moderators', 'everyone'] as const, 'nobody'),
      over18: set['over_18'] === true,
      dayLimit: typeof set['day_limit'] === 'number' ? set['day_limit'] : 50,
    },
    context.appSlug,
  );
}

/** A setting's text: that of a `select` comes as a list of one. */
function text(value: unknown): string {
  const first: unknown = Array.isArray(value) ? value[0] : value;
  return typeof first === 'string' ? first.trim() : '';
}

function oneOf<A extends string, B>(value: string, known: readonly A[], otherwise: B): A | B {
  return known.find((it) => it === value) ?? otherwise;
}

/** Of who pressed a menu item. */
async function usernameNow(): Promise<string | undefined> {
  return context.username ?? (await reddit.getCurrentUsername());
}

async function isModerator(username: string | undefined): Promise<boolean> {
  if (!username) return false;
  const found = await reddit.getModerators({ subredditName: context.subredditName, username }).all();
  return found.some((it) => it.username.toLowerCase() === username.toLowerCase());
}

async function shown({ said, reply }: Outcome): Promise<UiResponse> {
  const navigateTo = reply ? (await reddit.getCommentById(T1(reply))).url : undefined;
  return { showToast: said, ...(navigateTo ? { navigateTo } : {}) };
}

type Handler = (body: unknown) => Promise<object>;

const HANDLERS: Record<string, Handler> = {
  '/internal/menu/color': async (body) => {
    const { targetId } = body as MenuItemRequest;
    const isMod = await isModerator(await usernameNow());
    return shown(await (await makeApp()).pressed(targetId, context.userId ?? '', isMod));
  },
  '/internal/menu/take-back': async (body) => {
    const { targetId } = body as MenuItemRequest;
    const may = async (): Promise<boolean> => isModerator(await usernameNow());
    return shown(await (await makeApp()).takeBack(targetId, context.userId ?? '', may));
  },
  '/internal/on/comment-create': async (body) => {
    const { comment, author } = body as OnCommentCreateRequest;
    if (!comment || !author || author.name === context.appSlug || author.accountType === ACCOUNT_OF_AN_APP) return {};
    const heard = { id: comment.id, parent: comment.parentId, post: comment.postId, author: author.id, body: comment.body };
    await (await makeApp()).heard(heard, () => isModerator(author.name));
    return {};
  },
  '/internal/on/comment-delete': async (body) => {
    await (await makeApp()).commentGone((body as OnCommentDeleteRequest).commentId);
    return {};
  },
  '/internal/on/post-delete': async (body) => {
    await (await makeApp()).takeBack((body as OnPostDeleteRequest).postId, null, async () => false);
    return {};
  },
  '/internal/job/step': async (body) => {
    await (await makeApp()).step((body as TaskRequest<{ post: string }>).data.post);
    return {};
  },
};

async function read(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return JSON.parse(Buffer.concat(chunks).toString() || '{}');
}

async function answer(request: IncomingMessage): Promise<[status: number, body: object]> {
  const path = (request.url ?? '').split('?')[0] ?? '';
  const handler = Object.hasOwn(HANDLERS, path) ? HANDLERS[path] : undefined;
  if (!handler) return [404, { error: 'There is nothing here.' }];
  try {
    return [200, await handler(await read(request))];
  } catch (error) {
    console.error(`failed path=${path}`, error);
    // An item of the menu must say something; of all else Devvit is to know that it failed.
    return path.startsWith('/internal/menu/') ? [200, { showToast: 'That did not work. Please try again in a minute.' }] : [500, {}];
  }
}

createServer((request, response) => {
  void answer(request).then(([status, body]) => {
    response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body));
  });
}).listen(getServerPort());
