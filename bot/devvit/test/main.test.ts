/** main.ts with Devvit's own client code, on plugins that answer as Devvit's do: what is asked of Reddit, Redis and the scheduler. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { after, before, test } from 'node:test';

import { fakeFetch, job, World } from './fakes.ts';

const NAME = 'colorize-photos';
const POST = 't3_a';
const store = new World().store;
const scheduled: { action: { type: string; data: { post: string } } }[] = [];
const comments: Record<string, unknown>[] = [];
const uploads: unknown[] = [];
const postData = {
  ...{ id: 'a', title: 'Harbor', author: 'poster', authorFullname: 't2_poster', createdUtc: 1, subreddit: 'old', subredditId: 't5_old' },
  ...{ url: 'https://i.redd.it/harbor.jpg', permalink: '/r/old/comments/a/harbor/' },
};

const value = <T>(found: T): { value: T } => ({ value: found });
const listing = (children: object[]): object => ({ kind: 'Listing', data: { children } });
const setting = (text: string): object => ({ fieldType: 0, stringValue: text });
const choice = (text: string): object => ({ fieldType: 5, selectionValue: { values: [text] } });

/** As much of each plugin as the app calls, by the plugin's full name. */
const PLUGINS: Record<string, Record<string, (asked: any) => Promise<object>>> = {
  'devvit.plugin.redis.RedisAPI': {
    Set: async (it) => value(await store.set(it.key, it.value, { nx: it.nx, expiration: new Date(Date.now() + it.expiration * 1000) })),
    Del: async (it) => (await store.del(it.keys[0]), {}),
    IncrBy: async (it) => value(await store.incrBy(it.key, it.value)),
    Expire: async () => ({}),
    HGet: async (it) => value(await store.hGet(it.key, it.field)),
    HSet: async (it) => value(await store.hSet(it.key, { [it.fv[0].field]: it.fv[0].value })),
    HSetNX: async (it) => ({ success: await store.hSetNX(it.key, it.field, it.value) }),
    HDel: async (it) => value(await store.hDel(it.key, it.fields)),
  },
  'devvit.plugin.scheduler.Scheduler': { Schedule: async (it) => (scheduled.push(it), { id: 'job' }) },
  'devvit.plugin.media.MediaService': {
    Upload: async (it) => (uploads.push(it), { mediaId: 'm', mediaUrl: 'https://i.redd.it/colored.jpg' }),
  },
  'devvit.plugin.settings.v1alpha.Settings': {
    GetSettings: async () => ({
      appSettings: { settings: { service_host: setting('colors.example.org'), api_key: setting('ac_key') } },
      installationSettings: { settings: { menu_for: choice('moderators'), mentions: choice('everyone') } },
    }),
  },
  'devvit.plugin.redditapi.linksandcomments.LinksAndComments': {
    Info: async ({ thingIds: [id] }) =>
      listing([id === POST ? { kind: 't3', data: postData } : { kind: 't1', data: comments.find((it) => `t1_${String(it['id'])}` === id) }]),
    Comment: async (it) => {
      const data = { id: `c${comments.length}`, body: '', author: NAME, createdUtc: 1, parentId: it.thingId, linkId: POST };
      comments.push({ ...data, permalink: '/c', subreddit: 'old', subredditId: 't5_old', sent: it });
      return { json: { errors: [], data: { things: [{ kind: 't1', data: comments.at(-1) }] } } };
    },
    Del: async ({ id }) => (comments.splice(comments.findIndex((it) => `t1_${String(it['id'])}` === id), 1), {}),
  },
  'devvit.plugin.redditapi.listings.Listings': {
    Comments: async () => ({ listings: [listing([]), listing(comments.map((data) => ({ kind: 't1', data })))] }),
  },
  'devvit.plugin.redditapi.subreddits.Subreddits': {
    AboutWhere: async ({ user }) => listing(user === 'mod' ? [{ kind: 't2', data: { id: 't2_mod', date: 1, modPermissions: ['all'] } }] : []),
  },
  'devvit.plugin.redditapi.users.Users': {
    UserDataByAccountIds: async () => ({ users: { t2_mod: { name: 'mod', createdUtc: 1 } } }),
  },
};

const CONFIG = { use: ({ fullName }: { fullName: string }) => PLUGINS[fullName] ?? {}, uses: () => true };
const { fetcher, sent } = fakeFetch(job('succeeded'), new Response(null, { status: 204 }), new Response(null, { status: 204 }));
let port = 0;
const servers: { close(): void }[] = [];

before(async () => {
  const free = createServer().listen(0, '127.0.0.1');
  await once(free, 'listening');
  ({ port } = free.address() as { port: number });
  free.close();
  process.env['WEBBIT_PORT'] = String(port);
  globalThis.fetch = fetcher;
  Object.assign(globalThis, { devvit: { config: CONFIG } });
  const http = await import('node:http');
  const { listen } = http.Server.prototype;
  const started = new Promise<void>((resolve) => {
    http.Server.prototype.listen = function (this: typeof http.Server.prototype, ...how: unknown[]) {
      servers.push(this);
      this.once('listening', resolve);
      return Reflect.apply(listen, this, how);
    } as typeof listen;
  });
  await import('../src/main.ts');
  await started;
});

after(() => {
  for (const server of servers) server.close();
});

/** What an endpoint of devvit.json's answers. */
async function call(path: string, body: object, user = ''): Promise<[status: number, answer: Record<string, unknown>]> {
  const headers = {
    ...{ 'devvit-subreddit': 't5_old', 'devvit-subreddit-name': 'old', 'devvit-app': NAME, 'Content-Type': 'application/json' },
    ...(user ? { 'devvit-user': `t2_${user}`, 'devvit-user-name': user } : {}),
  };
  const asked = request({ port, path, method: 'POST', headers });
  asked.end(JSON.stringify(body));
  const [response] = (await once(asked, 'response')) as [import('node:http').IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return [response.statusCode ?? 0, JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>];
}

test('a moderator’s press and a person’s delete go through Devvit’s own client', async () => {
  const [, refused] = await call('/internal/menu/color', { location: 'post', targetId: POST }, 'anybody');
  assert.match(String(refused['showToast']), /Only moderators/);

  const [status, done] = await call('/internal/menu/color', { location: 'post', targetId: POST }, 'mod');
  assert.deepEqual([status, done['showToast'], done['navigateTo']], [200, 'Here it is in color, in a comment below the post.', 'https://www.reddit.com/c']);
  assert.deepEqual((sent[0]!.body as { url: string }).url, postData.url);
  assert.equal(uploads.length, 1);
  const { richtextJson, thingId } = comments[0]!['sent'] as { richtextJson: string; thingId: string };
  assert.equal(thingId, POST);
  assert.match(richtextJson, /"e":"img","mediaUrl":"https:\/\/i\.redd\.it\/colored\.jpg"/);

  // The scheduled step that was to go on had this call been cut off.
  const [{ action }] = scheduled as [(typeof scheduled)[0]];
  assert.deepEqual(action, { type: 'step', data: { post: POST } });
  assert.deepEqual(await call('/internal/job/step', { name: action.type, data: action.data }), [200, {}]);
  assert.equal(comments.length, 1);

  const comment = { id: 't1_x', parentId: 't1_c0', postId: POST, body: 'delete' };
  const said = (id: string): object => ({ type: 'CommentCreate', comment, author: { id: `t2_${id}`, name: id, accountType: 1 } });
  await call('/internal/on/comment-create', said('anybody'));
  assert.equal(comments.length, 1);
  await call('/internal/on/comment-create', said('poster'));
  assert.deepEqual(comments, []);
  assert.deepEqual(sent.map((it) => it.method), ['PUT', 'DELETE', 'DELETE']);
});

test('devvit.json names the endpoints that there are', async () => {
  const text = readFileSync('devvit.json', 'utf8');
  const named = new Set(text.match(/\/internal\/[a-z/-]+/g));
  assert.ok(named.size > 5);
  for (const path of named) assert.notEqual((await call(path, {}))[0], 404, path);
  assert.equal((await call('/internal/other', {}))[0], 404);
});
